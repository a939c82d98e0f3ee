/** Streams that are wrong: a machine's state as a monitor wrote it that left something out, added something or wrote it otherwise. */
import { readFileSync, writeFileSync } from 'node:fs';
import { hex32, hex64 } from '../../corpora/hex.js';
import type { MsrValue } from '../../corpora/identity.js';
import { msrLabel } from '../../corpora/msrs.js';
import type { Mutant } from '../../corpora/regressions.js';
import { readSnapshot, writeSnapshot } from '../../reference-vmm/snapshot/file.js';
import type { TravellingPart, VcpuState } from '../../reference-vmm/snapshot/vcpu-state.js';
import type { RecordedState } from '../hosts/recorded/guest.js';

type StreamMutant = Extract<Mutant, { kind: 'stream' }>;

/** The state in a file with the mutant's difference: of a machine, or of a recorded guest. Throws `RangeError` where it makes none. */
export function rewriteStream(file: string, mutant: StreamMutant): void {
  if (mutant.host === 'local') rewriteSnapshot(file, mutant);
  else rewriteRecorded(file, mutant);
}

/** The JSON of one vCPU on a link, with the mutant's difference. Throws as `rewriteStream`. */
export function rewriteVcpu(payload: Buffer, mutant: StreamMutant): Buffer {
  const state = JSON.parse(payload.toString('utf8')) as SentVcpu;
  const msrs = state.msrs.map(([index, value]) => ({ index: Number(index), value: BigInt(value) }));
  const { part, tscKhz = state.tscKhz } = mutant;
  const parts = part ? { ...state.parts, [part.name]: patchedText(state.parts[part.name]!, part) } : state.parts;
  const sent = otherMsrs(msrs, mutant).map(({ index, value }) => [`${index}`, `${value}`]);
  return Buffer.from(JSON.stringify({ ...state, tscKhz, parts, msrs: sent }));
}

/** Of a vCPU's section, what a mutant changes: parts in base64, decimal numbers. */
interface SentVcpu {
  readonly tscKhz: number;
  readonly parts: Readonly<Record<string, string>>;
  readonly msrs: readonly (readonly [index: string, value: string])[];
}

const patchedText = (base64: string, part: NonNullable<StreamMutant['part']>): string =>
  Buffer.from(patched(Buffer.from(base64, 'base64'), part)).toString('base64');

function rewriteSnapshot(file: string, mutant: StreamMutant): void {
  const state = readSnapshot(file);
  writeSnapshot(file, { ...state, vcpus: state.vcpus.map((vcpu) => written(vcpu, mutant)) });
}

function rewriteRecorded(file: string, mutant: StreamMutant): void {
  const state = JSON.parse(readFileSync(file, 'utf8')) as RecordedState;
  const msrs = state.msrs.map(({ index, value }) => ({ index: Number(index), value: BigInt(value) }));
  const json = otherMsrs(msrs, mutant).map(({ index, value }) => ({ index: hex32(index), value: hex64(value) }));
  writeFileSync(file, JSON.stringify({ ...state, msrs: json }));
}

function otherMsrs(msrs: readonly MsrValue[], { without = [], with: more = {} }: StreamMutant): MsrValue[] {
  const lost = new Set(without.map(Number));
  const own = new Set(msrs.map(({ index }) => index));
  for (const index of lost) if (!own.has(index)) throw new RangeError(`the state has no ${msrLabel(index)}`);
  return [
    ...msrs.filter(({ index }) => !lost.has(index)),
    ...Object.entries(more).map(([index, value]) => ({ index: Number(index), value: BigInt(value) })),
  ];
}

function written(vcpu: VcpuState, mutant: StreamMutant): VcpuState {
  const { tscKhz = vcpu.tscKhz, part } = mutant;
  return {
    ...vcpu,
    msrs: otherMsrs(vcpu.msrs, mutant),
    parts: part ? { ...vcpu.parts, [part.name]: patched(vcpu.parts[part.name as TravellingPart], part) } : vcpu.parts,
    tscKhz,
  };
}

function patched(bytes: Uint8Array, { at, bytes: hex }: { readonly at: number; readonly bytes: string }): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed.set(Buffer.from(hex, 'hex'), at);
  return changed;
}
