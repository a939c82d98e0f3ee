/** For tests: every capture that is at hand, the committed ones and the dumps beside this checkout. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile } from '../../../corpora/package-root.js';
import type { NamedHost } from '../questions/named-host.js';
import { committedCaptures, openCapture } from './open-capture.js';

const DUMPS = packageFile('../shared/ground-truth/host-captures');

/** Options of a test that needs the dumps. */
export const needsDumps: { readonly skip: string | false } = {
  skip: existsSync(DUMPS) ? false : 'no ground truth beside this checkout',
};

/** Paths of the dumps; none where they are not at hand. */
export const dumpFiles = (): string[] =>
  needsDumps.skip
    ? []
    : readdirSync(DUMPS, { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.json.gz'))
        .sort()
        .map((file) => join(DUMPS, file));

/** All of them as hosts. */
export async function allCaptures(): Promise<NamedHost[]> {
  const opened = [...committedCaptures(), ...dumpFiles()].map(async (id) => ({
    id,
    host: (await openCapture(id)).host,
  }));
  return Promise.all(opened);
}
