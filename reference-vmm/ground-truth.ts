/** For tests: tables that real QEMUs gave to KVM and captures of real kernels, where they stand beside this checkout. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { CpuidTable } from '../corpora/cpuid.js';
import type { CpuIdentity } from '../corpora/identity.js';
import { packageFile } from '../corpora/package-root.js';
import { identityOf } from './fixtures.js';

const folder = packageFile('../shared/ground-truth');

/** Options of a test that needs it. */
export const needsGroundTruth = {
  skip: existsSync(folder) ? false : 'the ground truth is not beside this checkout',
} as const;

const read = <T>(name: string): T => JSON.parse(gunzipSync(readFileSync(`${folder}/${name}`)).toString()) as T;

type Row = readonly [leaf: string, subleaf: string, eax: string, ebx: string, ecx: string, edx: string];
interface QemuTables {
  readonly pairs: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>>;
  readonly tables: Readonly<Record<string, readonly Row[]>>;
}

const hex = (text: string): number => Number.parseInt(text, 16);
const tableOf = (rows: readonly Row[]): CpuidTable =>
  new CpuidTable(
    rows.map(([leaf, subleaf, eax, ebx, ecx, edx]) => ({
      leaf: hex(leaf),
      subleaf: subleaf === '-' ? null : hex(subleaf),
      ...{ eax: hex(eax), ebx: hex(ebx), ecx: hex(ecx), edx: hex(edx) },
    })),
  );

/**
 * Identities by pair, first vCPU, made of the tables that a QEMU release gave to KVM; features of feature MSRs are not in them. Pairs that
 * show one table share it.
 */
export function qemuIdentities(release: '5.2' | '10.0'): CpuIdentity[] {
  const { pairs, tables } = read<QemuTables>(`qemu-kvm-tables/${release}.json.gz`);
  const shared = Object.fromEntries(Object.entries(tables).map(([hash, rows]) => [hash, identityOf(tableOf(rows))]));
  return Object.entries(pairs).flatMap(([machine, models]) =>
    Object.entries(models).map(([cpuModel, shapes]) => {
      const identity = shared[shapes['1'] ?? shapes['8c4t2']!]!;
      return { ...identity, machine, cpuModel, pair: `${machine}/${cpuModel}` };
    }),
  );
}

/** Of pairs that show one table, the first. */
export const differentIdentities = (): CpuIdentity[] => [
  ...new Map(
    [...qemuIdentities('10.0'), ...qemuIdentities('5.2')].map((identity) => [identity.vcpus[0]!.cpuid, identity]),
  ).values(),
];

/** MSRs that a QEMU release wrote at start: machine type -> model -> index -> value, hex. */
export const qemuMsrs = (
  release: '5.2' | '10.0',
): Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>> =>
  read(`qemu-kvm-msrs/${release}.json.gz`);

/** What a real kernel's KVM said. */
export interface KernelCapture {
  /** `EPYC/6.12.107+deb13`. */
  readonly name: string;
  readonly msrIndexList: readonly string[];
  readonly msrFeatureIndexList: readonly string[];
  /** Of a fresh vCPU with all supported CPUID; null where it could not be read. */
  readonly vcpuMsrs: Readonly<Record<string, string | null>>;
}

export const kernelCaptures = (): KernelCapture[] =>
  readdirSync(`${folder}/host-captures`, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.json.gz'))
    .map((name) => ({
      ...read<Omit<KernelCapture, 'name'>>(`host-captures/${name}`),
      name: name.slice(0, -'.json.gz'.length),
    }));
