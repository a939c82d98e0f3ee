/** A bundle: a folder with all that it takes to run one failing cell again, or to read two dumps; every file under its digest. */
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, type Stats } from 'node:fs';
import { dirname, isAbsolute, join, normalize } from 'node:path';
import { z } from 'zod';
import { InputError, MachineError } from '../../corpora/errors.js';
import { SCENARIOS, VERDICTS } from '../../corpora/verdict.js';
import { writeFileWhole } from '../../corpora/write-file.js';
import { reasonSchema } from '../hosts/agent/protocol.js';
import { isTarName, packTar, unpackTar } from './bundle-tar.js';

export const BUNDLE_SCHEMA = 'guest-abi/bundle/1';

const cell = z.strictObject({
  pair: z.string(),
  smp: z.string(),
  subject: z.string(),
  hosts: z.array(z.string()).min(1),
  scenario: z.enum(SCENARIOS),
  verdict: z.enum(VERDICTS),
  predicted: z.enum(VERDICTS),
  forced: z.array(z.string()),
  evidence: z.string(),
  reasons: z.array(reasonSchema),
  ms: z.number(),
});

const host = z.strictObject({
  id: z.string(),
  kernel: z.string(),
  module: z.string(),
  cpu: z.string(),
  note: z.string(),
  /** File of its capture; null where it could not be had, as `note` says. */
  capture: z.string().nullable(),
});

const head = { schema: z.literal(BUNDLE_SCHEMA), version: z.string(), node: z.string(), at: z.string() };
const files = z.record(z.string(), z.string().regex(/^[0-9a-f]{64}$/));

const bundleSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...head,
    kind: z.literal('cell'),
    cell,
    options: z.strictObject({ allowAltered: z.boolean(), forceFeatures: z.boolean() }),
    /** Of the property run that found it; null where a log did. */
    seed: z.number().nullable(),
    hosts: z.array(host),
    /** The cell of the log, where a smaller one shows the same. */
    minimisedFrom: z.string().nullable(),
    /** Whether it showed again while it was bundled; null: its hosts are not here. */
    reproduced: z.boolean().nullable(),
    files,
  }),
  z.strictObject({ ...head, kind: z.literal('dumps'), names: z.array(z.string()).length(2), files }),
]);

export type Bundle = z.infer<typeof bundleSchema>;
export type CellBundle = Extract<Bundle, { kind: 'cell' }>;
export type DumpsBundle = Extract<Bundle, { kind: 'dumps' }>;

/** Contents by path within the bundle. */
export type BundleFiles = Readonly<Record<string, string>>;

/** SHA-256, hex. */
export const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Writes a new folder, or a tar where its name ends so, whole or not at all. Throws `InputError` `bundle-exists`, `MachineError` where it cannot be written. */
export function writeBundle<B extends Bundle>(folder: string, bundle: Omit<B, 'files'>, contents: BundleFiles): void {
  if (existsSync(folder)) throw new InputError('bundle-exists', `${folder} exists`, { given: folder });
  const digests = Object.fromEntries(Object.entries(contents).map(([path, text]) => [path, digestOf(text)]));
  const all = { ...contents, 'bundle.json': `${JSON.stringify({ ...bundle, files: digests }, null, 1)}\n` };
  if (isTarName(folder)) {
    writeFileWhole(folder, [packTar(all, folder)]);
    return;
  }
  const temporary = `${folder}.${process.pid}.tmp`;
  try {
    for (const [path, text] of Object.entries(all)) {
      mkdirSync(dirname(join(temporary, path)), { recursive: true });
      writeFileWhole(join(temporary, path), [Buffer.from(text)]);
    }
    renameSync(temporary, folder);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    if (error instanceof MachineError) throw error;
    throw new MachineError('file-not-written', `cannot write ${folder}: ${(error as NodeJS.ErrnoException).code}`, {
      given: folder,
      cause: error,
    });
  }
}

type Reader = (path: string) => string;
type Bad = (why: string, cause?: unknown) => InputError;

/** Most bytes of all files of a bundle: dumps of sixteen vCPUs at every step of the longest life have a tenth. */
const MOST_BYTES = 256 * 2 ** 20;

/** Plain files only: no pipe that never ends, no link out of the folder. */
function folderReader(folder: string, bad: Bad): Reader {
  let left = MOST_BYTES;
  return (path) => {
    const file = join(folder, path);
    try {
      const { size } = plainFile(file);
      left -= size;
      if (left < 0) throw new RangeError(`more than ${MOST_BYTES} bytes`);
      return readFileSync(file, 'utf8');
    } catch (error) {
      if (error instanceof RangeError) throw bad(`${path}: ${error.message}`, error);
      throw bad(`no bundle: cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`, error);
    }
  };
}

function plainFile(file: string): Stats {
  const facts = lstatSync(file);
  if (!facts.isFile()) throw new RangeError('not a plain file');
  return facts;
}

/** Files beside the tar's `bundle.json`, at its root or in its one folder. */
function tarReader(file: string, bad: Bad): Reader {
  let files: Map<string, Buffer>;
  try {
    if (plainFile(file).size > MOST_BYTES) throw new RangeError(`more than ${MOST_BYTES} bytes`);
    files = unpackTar(readFileSync(file), file, MOST_BYTES);
  } catch (error) {
    throw bad(
      `no bundle: ${error instanceof RangeError ? error.message : (error as NodeJS.ErrnoException).code}`,
      error,
    );
  }
  const root =
    [...files.keys()].find((path) => /^([^/]+\/)?bundle\.json$/.test(path))?.replace('bundle.json', '') ?? '';
  return (path) => {
    const bytes = files.get(`${root}${path}`);
    if (!bytes) throw bad(`no bundle: it has no ${path}`);
    return bytes.toString('utf8');
  };
}

/** Reads a bundle, a folder or a tar, and holds every file to its digest. Throws `InputError` `bad-bundle`. */
export function readBundle(folder: string): { readonly bundle: Bundle; readonly files: BundleFiles } {
  const bad = (why: string, cause?: unknown): InputError =>
    new InputError('bad-bundle', `${folder}: ${why}`, { given: folder, cause });
  const read = isTarName(folder) ? tarReader(folder, bad) : folderReader(folder, bad);
  let value: unknown;
  try {
    value = JSON.parse(read('bundle.json'));
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw bad('bundle.json is not JSON', error);
  }
  const parsed = bundleSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw bad(`bundle.json: ${issue!.path.join('.')}: ${issue!.message}`);
  }
  const contents = Object.entries(parsed.data.files).map(([path, digest]) => {
    if (isAbsolute(path) || normalize(path) !== path || path.startsWith('..')) throw bad(`'${path}' lies outside`);
    const text = read(path);
    if (digestOf(text) !== digest) throw bad(`${path} is not what was bundled: its digest differs`);
    return [path, text] as const;
  });
  return { bundle: parsed.data, files: Object.fromEntries(contents) };
}
