/** Writes the result log line by line, as results come; goes on with a log that was cut. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { InputError, MachineError } from '../../corpora/errors.js';
import type { CellResult } from '../../corpora/verdict.js';
import { loadVolatility, msrClass } from '../../corpora/volatility/volatility.js';
import { type Digest, digestOf, type Life, type LoggedTable, logLife } from '../../reports/logged-life.js';
import {
  aboutHost,
  type HostSummary,
  LOG_SCHEMA,
  type LoggedCell,
  type LogLine,
  parseLog,
  type ResultLog,
  type RunFacts,
} from '../../reports/result-log.js';
import { PACKAGE_VERSION } from '../version.js';

const DEFAULT_LOG = 'guest-abi-results/run';
const VOLATILITY = loadVolatility();

/** What cells are run with, as it stands in the log's first line. */
type LoggedOptions = NonNullable<RunFacts['options']>;

interface NewLog {
  /** Of its name, where none is given. */
  readonly suffix?: string;
  /** The part of the cells that it is of: `1/2`. Of all where it is not given. */
  readonly part?: string | undefined;
}

export class LogWriter {
  readonly file: string;
  /** Results of the log that is being resumed. */
  readonly done: readonly LoggedCell[];
  /** Every table that is in the log. */
  readonly tables = new Map<Digest, LoggedTable>();
  readonly #fd: number;
  readonly #keep = (table: LoggedTable): Digest => this.#table(table);
  readonly #hosts = new Map<string, HostSummary>();

  private constructor(file: string, options: LoggedOptions, part: string | undefined, before: ResultLog | null) {
    const fresh = before ? `${file}.tmp` : file;
    this.file = file;
    this.done = before?.cells ?? [];
    this.#fd = openFile(fresh, before ? 'w' : 'wx');
    try {
      this.#begin(options, part, before);
    } catch (error) {
      // Of a log that did not begin nothing stays, and one that is gone on with stays as it is.
      rmSync(fresh);
      throw error;
    }
    if (before) {
      fsyncSync(this.#fd);
      renameSync(fresh, file);
    }
  }

  #begin(options: LoggedOptions, part: string | undefined, before: ResultLog | null): void {
    this.#write({
      type: 'run',
      schema: LOG_SCHEMA,
      version: PACKAGE_VERSION,
      startedAt: before?.startedAt ?? new Date().toISOString(),
      options,
      ...(part === undefined ? {} : { shards: [...new Set([...(before?.shards ?? []), part])] }),
    });
    for (const host of before?.hosts ?? []) this.host(host);
    for (const table of before?.tables.values() ?? []) this.#table(table);
    for (const cell of this.done) this.#write({ type: 'cell', ...cell });
  }

  /** A new log. Without a name: `guest-abi-results/run.jsonl`, or `run-2.jsonl` and so on; an existing file is never written over. */
  static create(options: LoggedOptions, file?: string, { suffix = '', part }: NewLog = {}): LogWriter {
    if (file !== undefined && existsSync(file))
      throw new InputError('log-exists', `${file} exists; --resume ${file} goes on with it`, { given: file });
    return new LogWriter(file ?? freeName(suffix), options, part, null);
  }

  /** Goes on with a log: what it holds is kept, a cut last line is dropped. Throws as `readLogOf`, and `log-of-other-version`. */
  static resume(options: LoggedOptions, file: string, part?: string): LogWriter {
    const before = readLogOf(options, file);
    if (before.version === PACKAGE_VERSION) return new LogWriter(file, options, part, before);
    throw new InputError(
      'log-of-other-version',
      `${file} was written by guest-abi ${before.version}, this is ${PACKAGE_VERSION}: begin a new log`,
      { given: file },
    );
  }

  /** Throws `InputError` `logs-differ` where the log has results of another kernel or CPU under this name. */
  host(facts: HostSummary): void {
    const known = this.#hosts.get(facts.id);
    if (known && aboutHost(known) !== aboutHost(facts))
      throw new InputError(
        'logs-differ',
        `${this.file}: host ${facts.id} was ${aboutHost(known)}, and is ${aboutHost(facts)} now: begin a new log`,
        { given: facts.id },
      );
    if (known) return;
    this.#hosts.set(facts.id, facts);
    this.#write({ type: 'host', ...facts });
  }

  /** `life`: what its guest had to show and showed, where it was run. */
  cell(result: CellResult, life?: Life): LoggedCell {
    const cell: LoggedCell = life ? { ...result, life: logLife(life, this.#keep, isTime) } : result;
    this.#write({ type: 'cell', ...cell });
    return cell;
  }

  #table(table: LoggedTable): Digest {
    const digest = digestOf(table);
    if (!this.tables.has(digest)) {
      this.tables.set(digest, table);
      this.#write({ type: 'table', digest, ...table });
    }
    return digest;
  }

  end(complete: boolean): void {
    this.#write({ type: 'end', complete });
    fsyncSync(this.#fd);
    closeSync(this.#fd);
  }

  #write(line: LogLine): void {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    } catch (error) {
      throw new MachineError('log-not-written', `cannot write ${this.file}: ${(error as NodeJS.ErrnoException).code}`, {
        cause: error,
      });
    }
  }
}

export const isTime = (msr: number): boolean => msrClass(VOLATILITY, msr) === 'time';

/** Throws `InputError` where the file cannot be read or is no result log. */
export function readLog(file: string): ResultLog {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new InputError('unreadable-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      given: file,
    });
  }
  return parseLog(text, file);
}

/** `readLog` of a run with the same options: only its verdicts compare with ours. Throws `InputError` `log-of-other-options` on another. */
export function readLogOf(ours: LoggedOptions, file: string): ResultLog {
  const log = readLog(file);
  const theirs = log.options ?? {};
  if (optionWords(theirs) === optionWords(ours)) return log;
  throw new InputError(
    'log-of-other-options',
    `${file} was run with ${optionWords(theirs)}, this run is with ${optionWords(ours)}: give the log's options, or begin a new log`,
    { given: file },
  );
}

/** As on the command line; what is off or empty is left out. */
function optionWords(options: LoggedOptions): string {
  const given = Object.entries(options).filter(
    ([, value]) => value !== false && !(Array.isArray(value) && !value.length),
  );
  const words = given.map(([name, value]) => {
    const option = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return value === true ? option : `${option} ${[value].flat().join(' ')}`;
  });
  return words.sort().join(' ') || 'no options';
}

function freeName(suffix: string): string {
  for (let i = 1; ; i++) {
    const name = `${DEFAULT_LOG}${suffix && `-${suffix}`}${i === 1 ? '' : `-${i}`}.jsonl`;
    if (!existsSync(name)) return name;
  }
}

function openFile(file: string, flags: 'w' | 'wx'): number {
  try {
    mkdirSync(dirname(file), { recursive: true });
    return openSync(file, flags);
  } catch (error) {
    throw new MachineError('log-not-written', `cannot write ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      cause: error,
    });
  }
}
