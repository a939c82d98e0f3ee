/** Streams that are wrong: a machine's state as a monitor wrote it that left something out, added something or wrote it otherwise. */
import { readFileSync, writeFileSync } from 'node:fs';
import { type MsrValue, msrFromJson, msrToJson } from '../../corpora/identity.js';
import { msrLabel } from '../../corpora/msrs.js';
import type { Mutant } from '../../corpora/regressions.js';
import { readSnapshot, writeSnapshot } from '../../reference-vmm/snapshot/file.js';
import type { TravellingPart, VcpuState } from '../../reference-vmm/snapshot/vcpu-state.js';
import type { RecordedState, RecordedVcpu } from '../hosts/recorded/guest.js';

type StreamMutant = Extract<Mutant, { kind: 'stream' }>;

/** The state in a file with the mutant's difference: of a machine, or of a recorded guest. Throws `RangeError` where it makes none. */
export function rewriteStream(file: string, mutant: StreamMutant): void {
  if (mutant.host === 'local') rewriteSnapshot(file, mutant);
  else rewriteRecorded(file, mutant);
}

/** The JSON of one vCPU on a link, with the mutant's difference. Throws as `rewriteStream`. */
export function rewriteVcpu(payload: Buffer, mutant: StreamMutant): Buffer {
  const state = JSON.parse(payload.toString('utf8')) as SentVcpu;
  if (!isWrong(mutant, state.index)) return payload;
  const msrs = state.msrs.map(([index, value]) => ({ index: Number(index), value: BigInt(value) }));
  const { tscKhz = state.tscKhz } = mutant;
  const patch = patchOf(mutant);
  const parts = patch ? { ...state.parts, [patch.name]: patchedText(state.parts[patch.name]!, patch) } : state.parts;
  const sent = otherMsrs(msrs, mutant).map(({ index, value }) => [`${index}`, `${value}`]);
  return Buffer.from(JSON.stringify({ ...state, tscKhz, parts, msrs: sent }));
}

/** Of a vCPU's section, what a mutant changes: parts in base64, decimal numbers. */
interface SentVcpu {
  readonly index: number;
  readonly tscKhz: number;
  readonly parts: Readonly<Record<string, string>>;
  readonly msrs: readonly (readonly [index: string, value: string])[];
}

type Patch = NonNullable<StreamMutant['part']>;

/** Whether a mutant makes a difference to this vCPU. */
const isWrong = ({ vcpus }: StreamMutant, vcpu: number): boolean => vcpus?.includes(vcpu) ?? true;

/** `struct kvm_xcrs`: the value of the first. */
const XCR0_AT = 16;

function patchOf({ part, xcr0 }: StreamMutant): Patch | undefined {
  if (xcr0 === undefined) return part;
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(xcr0));
  return { name: 'xcrs', at: XCR0_AT, bytes: bytes.toString('hex') };
}

const patchedText = (base64: string, part: Patch): string =>
  Buffer.from(patched(Buffer.from(base64, 'base64'), part)).toString('base64');

function rewriteSnapshot(file: string, mutant: StreamMutant): void {
  const state = readSnapshot(file);
  writeSnapshot(file, {
    ...state,
    vcpus: state.vcpus.map((vcpu, i) => (isWrong(mutant, i) ? written(vcpu, mutant) : vcpu)),
  });
}

function rewriteRecorded(file: string, mutant: StreamMutant): void {
  const state = JSON.parse(readFileSync(file, 'utf8')) as RecordedState;
  const rewritten = ({ xcr0, msrs }: RecordedVcpu): RecordedVcpu => ({
    xcr0: mutant.xcr0 === undefined ? xcr0 : `${BigInt(mutant.xcr0)}`,
    msrs: otherMsrs(msrs.map(msrFromJson), mutant).map(msrToJson),
  });
  const vcpus = state.vcpus.map((vcpu, i) => (isWrong(mutant, i) ? rewritten(vcpu) : vcpu));
  writeFileSync(file, JSON.stringify({ ...state, vcpus }));
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
  const { tscKhz = vcpu.tscKhz } = mutant;
  const part = patchOf(mutant);
  return {
    ...vcpu,
    msrs: otherMsrs(vcpu.msrs, mutant),
    parts: part ? { ...vcpu.parts, [part.name]: patched(vcpu.parts[part.name as TravellingPart], part) } : vcpu.parts,
    tscKhz,
  };
}

function patched(bytes: Uint8Array, { at, bytes: hex }: Patch): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed.set(Buffer.from(hex, 'hex'), at);
  return changed;
}
