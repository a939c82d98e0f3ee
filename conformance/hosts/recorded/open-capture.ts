/** Reads what a user names as a capture: ours, the dump of another tool, either of them gzipped; nothing of it is trusted. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { InputError, nearestNames } from '../../../corpora/errors.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { CAPTURE_SCHEMA, captureFromJson, type HostCaptureJson } from '../../../corpora/host-capture.js';
import { packageFile } from '../../../corpora/package-root.js';

/** A capture with where it comes from. */
export interface OpenedCapture {
  /** As given, or for a committed one its whole name. */
  readonly name: string;
  readonly host: HostCapabilities;
  /** Where it was taken. */
  readonly origin: string;
}

/** Real captures are 40 KiB, 4 KiB gzipped. */
const MAX_BYTES = 8 * 1024 * 1024;

const COMMITTED = packageFile('corpora/hosts');

/**
 * Opens a capture: a file, or a committed one by `EPYC/6.12` (of several kernels that begin so, the newest).
 * Throws `InputError` `no-such-capture` or `bad-capture`.
 */
export async function openCapture(name: string): Promise<OpenedCapture> {
  const found = existsSync(name) ? { name, file: name } : committed(name);
  return { name: found.name, ...(await parseCapture(readBytes(found.file), name)) };
}

function committed(name: string): { readonly name: string; readonly file: string } {
  const fileOf = (one: string) => ({ name: one, file: join(COMMITTED, `${one}.json`) });
  if (existsSync(fileOf(name).file)) return fileOf(name);
  const begins = committedCaptures().filter((one) => one.startsWith(name) && /^[^\d]/.test(one.slice(name.length)));
  if (begins.length > 0) return fileOf(begins.at(-1)!);
  const all = committedCaptures();
  const sameCpu = all.filter((one) => one.startsWith(`${name.split('/')[0]}/`));
  const hint = [nearestNames(name, all), sameCpu, all].find((names) => names.length > 0)!.slice(0, 3);
  throw new InputError(
    'no-such-capture',
    `no capture '${name}': neither a file nor one of the package, such as ${hint.join(', ')}`,
    {
      given: name,
      nearest: hint,
    },
  );
}

/** Captures of the package, `EPYC/6.12.107+deb13`, oldest kernel first. */
export const committedCaptures = (): string[] =>
  readdirSync(COMMITTED)
    .sort()
    .flatMap((cpu) => readdirSync(join(COMMITTED, cpu)).map((file) => `${cpu}/${file.replace(/\.json$/, '')}`))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));

function readBytes(file: string): Buffer {
  try {
    if (statSync(file).size > MAX_BYTES) throw badCapture(file, `it has more than ${MAX_BYTES} bytes`);
    const bytes = readFileSync(file);
    return isGzip(bytes) ? gunzipSync(bytes, { maxOutputLength: MAX_BYTES }) : bytes;
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw badCapture(file, (error as NodeJS.ErrnoException).code ?? String(error));
  }
}

const isGzip = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;

export async function parseCapture(bytes: Buffer, name: string): Promise<Omit<OpenedCapture, 'name'>> {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw badCapture(name, 'it is not JSON');
  }
  const { captureFileSchema, dumpSchema } = await import('./capture-schemas.js');
  const { schema } = (json ?? {}) as { schema?: unknown };
  if (typeof schema === 'string' && schema !== CAPTURE_SCHEMA)
    throw badCapture(name, `its schema is ${schema}, not ${CAPTURE_SCHEMA}`);
  const ours = schema === CAPTURE_SCHEMA;
  const parsed = ours ? captureFileSchema.safeParse(json) : dumpSchema.safeParse(json);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw badCapture(name, `${path.join('.') || 'it'}: ${message}`);
  }
  try {
    if (ours) {
      const { origin, ...capture } = parsed.data as HostCaptureJson & { readonly origin?: string };
      return { host: captureFromJson(capture), origin: origin ?? name };
    }
    const { hostOfDump } = await import('./kvm-dump.js');
    return { host: hostOfDump(parsed.data as never), origin: `imported from ${basename(name)}` };
  } catch (error) {
    throw badCapture(name, (error as Error).message);
  }
}

const badCapture = (name: string, why: string): InputError =>
  new InputError('bad-capture', `${name} is not a capture of a host: ${why}`, { given: name });
