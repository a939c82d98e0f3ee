/** Where the ground truth stands beside a checkout, for the tests that can use it. */
import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { packageFile } from '../../corpora/package-root.js';
import { Release, type ReleaseDump } from './release.js';

const FOLDER = packageFile('../shared/ground-truth');

/** Reason to skip, or false. */
export const withoutGroundTruth: string | false = existsSync(FOLDER)
  ? false
  : 'no ground truth beside this checkout (../shared/ground-truth)';

/** A gzip'd JSON file of the ground truth. */
export const groundTruth = <T>(path: string): T =>
  JSON.parse(gunzipSync(readFileSync(`${FOLDER}/${path}`)).toString('utf8')) as T;

export const PROPERTY_RELEASES = ['5.2', '7.2', '10.0', '11.1'] as const;

export const releaseOf = (name: string): Release =>
  new Release(name, groundTruth<ReleaseDump>(`qemu-properties/${name}.json.gz`));

/** Tables that QEMU handed to KVM: rows `[leaf, subleaf or "-", eax, ebx, ecx, edx]`. */
export interface KvmTables {
  readonly pairs: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>>;
  readonly tables: Readonly<Record<string, readonly (readonly string[])[]>>;
}

export const TABLE_RELEASES = ['5.2', '10.0'] as const;

export const tablesOf = (name: string): KvmTables => groundTruth<KvmTables>(`qemu-kvm-tables/${name}.json.gz`);
