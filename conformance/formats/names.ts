/** From features' names to bits and back, by a dictionary: what joins the formats that speak in names to those that speak in bits. */
import { type CpuidRow, REGISTERS, type Register } from '../../corpora/cpuid.js';
import { rowName } from './cpu-collector.js';
import type { BitPlace } from './difference.js';
import { type CpuDump, type DumpedMsr, maskedCpu, type NamedCpu, type NamedFeature, pinnedBits } from './dump.js';
import { listed } from './losses.js';

export interface NamedBit {
  readonly place: BitPlace;
  readonly bit: number;
}

/** A dictionary of libvirt's feature names. */
export interface FeatureNames {
  /** The bits of a feature; none where the name is not known. */
  bitsOf(name: string): readonly NamedBit[];
  /** The name of a bit, or null where it has none. */
  nameOf(place: BitPlace, bit: number): string | null;
  /** The features that a model has in any of its versions, or gets by default; null for an unknown model, where any may be on. */
  featuresOfModel(model: string): ReadonlySet<string> | null;
}

export interface Renamed {
  readonly dump: CpuDump;
  readonly losses: readonly string[];
}

type Pins = { row: CpuidRow; mask: CpuidRow };

/** The features of a CPU in names as bits of CPU 0: 1 where required or forced, 0 where disabled or forbidden. The names go. */
export function namesToBits(dump: CpuDump, names: FeatureNames): Renamed {
  const rows = new Map<string, Pins>();
  const msrs = new Map<number, DumpedMsr & { value: bigint; mask: bigint }>();
  const unknown: string[] = [];
  for (const { name, policy } of dump.named?.features ?? []) {
    const bits = names.bitsOf(name);
    if (!bits.length) unknown.push(name);
    else if (policy !== 'optional')
      for (const bit of bits) pin(bit, policy === 'require' || policy === 'force', rows, msrs);
  }
  const { model } = dump.named ?? { model: null };
  const losses = [
    ...(model === null ? [] : [`the features that model ${model} has of itself are not looked up`]),
    ...(unknown.length ? [`no bit is known for ${listed(unknown)}`] : []),
  ];
  return { dump: { ...dump, cpus: [maskedCpu(0, [...rows.values()], [...msrs.values()])], named: null }, losses };
}

function pin(
  { place, bit }: NamedBit,
  on: boolean,
  rows: Map<string, Pins>,
  msrs: Map<number, DumpedMsr & { value: bigint; mask: bigint }>,
): void {
  if ('msr' in place) {
    const known = msrs.get(place.msr) ?? { index: place.msr, value: 0n, mask: 0n };
    const set = 1n << BigInt(bit);
    msrs.set(place.msr, { ...known, value: known.value | (on ? set : 0n), mask: known.mask | set });
    return;
  }
  const { register, ...at } = place;
  const zero = { ...at, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const known = rows.get(rowName(at)) ?? { row: zero, mask: zero };
  const change = (row: CpuidRow, set: boolean): CpuidRow => ({
    ...row,
    [register]: (row[register] | (set ? 1 << bit : 0)) >>> 0,
  });
  rows.set(rowName(at), { row: change(known.row, on), mask: change(known.mask, true) });
}

/** The named bits of CPU 0 as features beside this model: required where 1, disabled where 0 and the model may have it. The bits go. */
export function bitsToNames(dump: CpuDump, model: string | null, names: FeatureNames): Renamed {
  const [cpu, ...others] = dump.cpus;
  const features: NamedFeature[] = [];
  const ofModel = model === null ? null : names.featuresOfModel(model);
  const unnamed = new Set<string>();
  const say = (place: BitPlace, bits: bigint, mask: bigint, label: string): void => {
    for (let bit = 0; mask >> BigInt(bit); bit++) {
      if (!((mask >> BigInt(bit)) & 1n)) continue;
      const on = ((bits >> BigInt(bit)) & 1n) === 1n;
      const name = names.nameOf(place, bit);
      if (name !== null && !features.some((known) => known.name === name) && (on || !ofModel || ofModel.has(name)))
        features.push({ name, policy: on ? 'require' : 'disable' });
      else if (name === null && on) unnamed.add(label);
    }
  };
  for (const row of cpu?.cpuid ?? [])
    for (const register of REGISTERS as readonly Register[])
      say(
        { leaf: row.leaf, subleaf: row.subleaf, register },
        BigInt(row[register]),
        BigInt(pinnedBits(cpu!, row, register)),
        rowName(row),
      );
  for (const msr of cpu?.msrs ?? [])
    if ('mask' in msr) say({ msr: msr.index }, msr.value, msr.mask, `MSR 0x${msr.index.toString(16)}`);
  if (model === null && !features.length) return { dump, losses: [] };
  const named: NamedCpu = { mode: 'custom', model, vendor: null, features, offered: [] };
  const losses = [
    ...(unnamed.size ? [`bits without a name are left out, in ${listed([...unnamed])}`] : []),
    ...(others.length ? [`one CPU only: left out CPU ${listed(others.map(({ index }) => `${index}`))}`] : []),
  ];
  return { dump: { ...dump, cpus: [], named }, losses };
}
