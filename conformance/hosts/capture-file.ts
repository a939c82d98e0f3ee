/** Capture files: host capabilities as they stand in corpora/hosts, a row a line, with where they were taken. */
import { readFileSync } from 'node:fs';
import { InputError } from '../../corpora/errors.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { CAPTURE_SCHEMA, captureFromJson, captureToJson, type HostCaptureJson } from '../../corpora/host-capture.js';

/** A capture with its provenance. */
export interface CaptureFile extends HostCaptureJson {
  /** The host that it was taken on, e.g. `lab:6.12.107+deb13/EPYC, QEMU 11.1.3, Debian 6.12.107-1`. */
  readonly origin: string;
}

/** The text of a capture file: one CPUID row, MSR or setting a line, so that `git diff` reads as what a kernel update changed. */
export function formatCapture(host: HostCapabilities, origin: string): string {
  const { schema, facts, capabilities, ...lists } = captureToJson(host);
  const parts = [
    `  "schema": ${JSON.stringify(schema)}`,
    `  "origin": ${JSON.stringify(origin)}`,
    `  "facts": ${JSON.stringify(facts, null, 2).replaceAll('\n', '\n  ')}`,
    ...Object.entries(lists).map(([name, rows = []]) => `  ${JSON.stringify(name)}: ${list(rows)}`),
    `  "capabilities": ${JSON.stringify(sorted(capabilities), null, 2).replaceAll('\n', '\n  ')}`,
  ];
  return `{\n${parts.join(',\n')}\n}\n`;
}

const list = (rows: readonly unknown[]): string =>
  rows.length === 0 ? '[]' : `[\n${rows.map((row) => `    ${JSON.stringify(row)}`).join(',\n')}\n  ]`;

const sorted = <T>(record: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Reads a capture file. Throws `InputError` `bad-capture` where it is none. */
export function readCapture(path: string): { readonly host: HostCapabilities; readonly origin: string } {
  try {
    const file = JSON.parse(readFileSync(path, 'utf8')) as CaptureFile;
    if ((file.schema as string) !== CAPTURE_SCHEMA) throw new RangeError(`its schema is not ${CAPTURE_SCHEMA}`);
    return { host: captureFromJson(file), origin: file.origin };
  } catch (error) {
    throw new InputError('bad-capture', `${path} is not a capture: ${String(error)}`, {
      given: path,
      cause: error,
    });
  }
}
