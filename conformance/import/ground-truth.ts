/** Where the ground truth stands beside a checkout, for the tests that can use it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { packageFile } from '../../corpora/package-root.js';
import { compareVersions, Release, type ReleaseDump } from './release.js';

const FOLDER = packageFile('../shared/ground-truth');

/** Reason to skip, or false. */
export const withoutGroundTruth: string | false = existsSync(FOLDER)
  ? false
  : 'no ground truth beside this checkout (../shared/ground-truth)';

const read = <T>(file: string): T => JSON.parse(gunzipSync(readFileSync(file)).toString('utf8')) as T;

/** A gzip'd JSON file of the ground truth. */
export const groundTruth = <T>(path: string): T => read<T>(`${FOLDER}/${path}`);

export const PROPERTY_RELEASES = ['5.2', '7.2', '10.0', '11.1'] as const;

export const releaseOf = (name: string): Release =>
  new Release(name, groundTruth<ReleaseDump>(`qemu-properties/${name}.json.gz`));

/** Tables that QEMU handed to KVM: rows `[leaf, subleaf or "-", eax, ebx, ecx, edx]`. */
export interface KvmTables {
  readonly pairs: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>>;
  readonly tables: Readonly<Record<string, readonly (readonly string[])[]>>;
}

/** `<release>.json.gz` each; GUEST_ABI_KVM_TABLES names another folder of them. */
const TABLES = process.env.GUEST_ABI_KVM_TABLES ?? `${FOLDER}/qemu-kvm-tables`;

/** Reason to skip, or false. */
export const withoutTables: string | false = existsSync(TABLES) ? false : `no ground truth in ${TABLES}`;

const RELEASE_FILE = /^(\d+\.\d+)\.json\.gz$/;

/** Every release that there are tables of, oldest first. */
export const tableReleases = (): string[] =>
  readdirSync(TABLES)
    .flatMap((name) => RELEASE_FILE.exec(name)?.[1] ?? [])
    .sort(compareVersions);

export const tablesOf = (name: string): KvmTables => read<KvmTables>(`${TABLES}/${name}.json.gz`);
