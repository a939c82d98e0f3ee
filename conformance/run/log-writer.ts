/** Writes the result log line by line, as results come; goes on with a log that was cut. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { InputError, MachineError } from '../../corpora/errors.js';
import type { CellResult } from '../../corpora/verdict.js';
import { loadVolatility, msrClass } from '../../corpora/volatility/volatility.js';
import { type Digest, digestOf, type Life, type LoggedTable, logLife } from '../../reports/logged-life.js';
import {
  type HostSummary,
  LOG_SCHEMA,
  type LoggedCell,
  type LogLine,
  parseLog,
  type ResultLog,
} from '../../reports/result-log.js';
import { PACKAGE_VERSION } from '../version.js';

const DEFAULT_LOG = 'guest-abi-results/run';
const VOLATILITY = loadVolatility();

export class LogWriter {
  readonly file: string;
  /** Results of the log that is being resumed. */
  readonly done: readonly LoggedCell[];
  /** Every table that is in the log. */
  readonly tables = new Map<Digest, LoggedTable>();
  readonly #fd: number;
  readonly #hosts: Set<string>;

  private constructor(file: string, before: ResultLog | null) {
    const fresh = before ? `${file}.tmp` : file;
    this.file = file;
    this.done = before?.cells ?? [];
    this.#hosts = new Set();
    this.#fd = openFile(fresh, before ? 'w' : 'wx');
    this.#write({
      type: 'run',
      schema: LOG_SCHEMA,
      version: PACKAGE_VERSION,
      startedAt: before?.startedAt ?? new Date().toISOString(),
    });
    for (const host of before?.hosts ?? []) this.host(host);
    for (const table of before?.tables.values() ?? []) this.#table(table);
    for (const cell of this.done) this.#write({ type: 'cell', ...cell });
    if (before) {
      fsyncSync(this.#fd);
      renameSync(fresh, file);
    }
  }

  /** A new log. Without a name: `guest-abi-results/run.jsonl`, or `run-2.jsonl` and so on; an existing file is never written over. */
  static create(file: string | undefined, suffix = ''): LogWriter {
    if (file !== undefined && existsSync(file))
      throw new InputError('log-exists', `${file} exists; --resume ${file} goes on with it`, { given: file });
    return new LogWriter(file ?? freeName(suffix), null);
  }

  /** Goes on with a log: what it holds is kept, a cut last line is dropped. */
  static resume(file: string): LogWriter {
    return new LogWriter(file, readLog(file));
  }

  host(facts: HostSummary): void {
    if (this.#hosts.has(facts.id)) return;
    this.#hosts.add(facts.id);
    this.#write({ type: 'host', ...facts });
  }

  /** `life`: what its guest had to show and showed, where it was run. */
  cell(result: CellResult, life?: Life): LoggedCell {
    const cell: LoggedCell = life ? { ...result, life: logLife(life, (table) => this.#table(table), isTime) } : result;
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

const isTime = (msr: number): boolean => msrClass(VOLATILITY, msr) === 'time';

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
