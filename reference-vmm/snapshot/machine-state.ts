/** The state of a whole machine as a value, and its sections in a container. */
import { checkedDigits, checkedFields, checkedList, checkedNumber, checkedText } from '../../corpora/checked.js';
import { type CpuIdentity, checkedIdentity, identityToJson, type MsrValue } from '../../corpora/identity.js';
import type { VmClock } from '../kvm/kvm.js';
import { ContainerError, type Section } from './container.js';
import { PAGE_BYTES, SECTION } from './sections.js';
import { TRAVELLING_PARTS, type TravellingPart, type VcpuState } from './vcpu-state.js';

export { PAGE_BYTES, SECTION } from './sections.js';

const PAGE_RECORD_BYTES = 8 + PAGE_BYTES;

/** One page that is not all zeroes. */
export interface Page {
  readonly gpa: number;
  /** `PAGE_BYTES` bytes. */
  readonly bytes: Uint8Array;
}

/** JSON values of each device, by its name. */
export type DeviceStates = Readonly<Record<string, unknown>>;

/** All of a stopped machine's state but its memory. */
export interface MachineCore {
  readonly identity: CpuIdentity;
  /** Guest RAM in bytes. */
  readonly memoryBytes: number;
  readonly clock: VmClock;
  readonly devices: DeviceStates;
  readonly vcpus: readonly VcpuState[];
}

export interface MachineState extends MachineCore {
  /** In ascending order; all other pages are zero. */
  readonly pages: readonly Page[];
}

interface MachineJson {
  readonly memoryBytes: number;
  readonly clock: Readonly<Record<'clock' | 'realtime' | 'hostTsc', string>> & { readonly flags: number };
  readonly devices: DeviceStates;
}

type MsrJson = readonly [index: string, value: string];

interface VcpuJson {
  readonly index: number;
  readonly tscKhz: number;
  /** base64. */
  readonly parts: Readonly<Record<TravellingPart, string>>;
  /** index and value, decimal strings. */
  readonly msrs: readonly MsrJson[];
  readonly held: readonly MsrJson[];
}

const json = (type: number, value: unknown): Section => ({ type, payload: Buffer.from(JSON.stringify(value)) });

/** The section with which every offer and every state begins. */
export const identitySection = (identity: CpuIdentity): Section => json(SECTION.identity, identityToJson(identity));

/** The sections of a state without its identity and memory. */
export function coreSections({ memoryBytes, clock: at, devices, vcpus }: MachineCore): Section[] {
  const { clock, realtime, hostTsc, flags } = at;
  const machine: MachineJson = {
    memoryBytes,
    clock: { clock: `${clock}`, realtime: `${realtime}`, hostTsc: `${hostTsc}`, flags },
    devices,
  };
  return [json(SECTION.machine, machine), ...vcpus.map((vcpu) => json(SECTION.vcpu, vcpuToJson(vcpu)))];
}

/** Those of a state without its memory. */
export const headSections = (state: MachineCore): Section[] => [
  identitySection(state.identity),
  ...coreSections(state),
];

export const stateSections = (state: MachineState): Section[] => [
  ...headSections(state),
  { type: SECTION.memory, payload: encodePages(state.pages) },
];

const msrToJson = ({ index, value }: MsrValue): MsrJson => [`${index}`, `${value}`];

const UINT32 = 0xffff_ffff;
const UINT64 = 2n ** 64n - 1n;
/** More than any kernel lists. */
const MSR_CAP = 65_536;
/** The largest part is XSAVE: 11 KB with AMX. */
const PART_TEXT_CAP = 256 * 1024;

const msrsFromJson = (list: unknown): MsrValue[] =>
  checkedList(list, MSR_CAP, 'msrs').map((pair) => {
    const [index, value] = checkedList(pair, 2, 'an MSR');
    return {
      index: Number(checkedDigits(index, BigInt(UINT32), 'msr')),
      value: checkedDigits(value, UINT64, 'msr value'),
    };
  });

const vcpuToJson = ({ index, tscKhz, parts, msrs, held }: VcpuState): VcpuJson => ({
  index,
  tscKhz,
  parts: Object.fromEntries(
    TRAVELLING_PARTS.map((name) => [name, Buffer.from(parts[name]).toString('base64')]),
  ) as Record<TravellingPart, string>,
  msrs: msrs.map(msrToJson),
  held: held.map(msrToJson),
});

function encodePages(pages: readonly Page[]): Uint8Array {
  const bytes = Buffer.alloc(pages.length * PAGE_RECORD_BYTES);
  for (const [i, page] of pages.entries()) {
    bytes.writeBigUInt64LE(BigInt(page.gpa), i * PAGE_RECORD_BYTES);
    bytes.set(page.bytes, i * PAGE_RECORD_BYTES + 8);
  }
  return bytes;
}

/** The identity of an offer or a state. Throws `ContainerError` where the first section holds none. */
export function readIdentity(sections: readonly Section[], what: string): CpuIdentity {
  const [first] = sections;
  if (first?.type !== SECTION.identity) throw new ContainerError(what, 'does not begin with a CPU identity');
  return guard(what, 'CPU identity', () => checkedIdentity(parse(first)));
}

/**
 * A state from a container whose checksums hold. `memoryLimit` bounds guest RAM in bytes. Throws `ContainerError` where sections are missing,
 * stand twice or contradict each other.
 */
export function readState(sections: readonly Section[], what: string, memoryLimit: number): MachineState {
  const identity = readIdentity(sections, what);
  const memory = sections.at(-1)!;
  if (memory.type !== SECTION.memory) throw new ContainerError(what, 'does not end with memory');
  const core = readCore(identity, sections.slice(1, -1), what, memoryLimit);
  return { ...core, pages: decodePages(memory.payload, core.memoryBytes, what) };
}

/** What `coreSections` gave, of a machine of this identity. Throws as `readState`. */
export function readCore(
  identity: CpuIdentity,
  sections: readonly Section[],
  what: string,
  memoryLimit: number,
): MachineCore {
  const order = sections.map(({ type }) => type);
  const wanted = [SECTION.machine, ...identity.vcpus.map(() => SECTION.vcpu)];
  if (order.join() !== wanted.join())
    throw new ContainerError(what, `has state sections ${order.join()}, needs ${wanted.join()}`);
  return guard(what, 'machine state', () => {
    const { memoryBytes, clock: at, devices } = checkedFields(parse(sections[0]!), 'machine');
    const clock = checkedFields(at, 'clock');
    const time = (name: string): bigint => checkedDigits(clock[name], UINT64, name);
    if (
      typeof memoryBytes !== 'number' ||
      !Number.isSafeInteger(memoryBytes) ||
      memoryBytes <= 0 ||
      memoryBytes % PAGE_BYTES !== 0 ||
      memoryBytes > memoryLimit
    )
      throw new ContainerError(
        what,
        `guest memory of ${String(memoryBytes)} bytes, at most ${memoryLimit} are allowed`,
      );
    return {
      identity,
      memoryBytes,
      clock: {
        ...{ clock: time('clock'), realtime: time('realtime'), hostTsc: time('hostTsc') },
        flags: checkedNumber(clock.flags, UINT32, 'flags'),
      },
      devices: checkedFields(devices, 'devices'),
      vcpus: sections.slice(1).map((section, i) => vcpuFromJson(parse(section), i)),
    };
  });
}

function vcpuFromJson(json: unknown, index: number): VcpuState {
  const vcpu = checkedFields(json, 'vCPU');
  if (vcpu.index !== index) throw new RangeError(`vCPU ${String(vcpu.index)} stands in place ${index}`);
  const parts = checkedFields(vcpu.parts, 'parts');
  const part = (name: TravellingPart): [TravellingPart, Uint8Array] => [
    name,
    Buffer.from(checkedText(parts[name], PART_TEXT_CAP, name), 'base64'),
  ];
  return {
    index,
    tscKhz: checkedNumber(vcpu.tscKhz, UINT32, 'tscKhz'),
    parts: Object.fromEntries(TRAVELLING_PARTS.map(part)) as Record<TravellingPart, Uint8Array>,
    msrs: msrsFromJson(vcpu.msrs),
    held: msrsFromJson(vcpu.held),
  };
}

function decodePages(payload: Uint8Array, memoryBytes: number, what: string): Page[] {
  if (payload.length % PAGE_RECORD_BYTES !== 0) throw new ContainerError(what, 'memory section ends within a page');
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  let next = 0n;
  return Array.from({ length: payload.length / PAGE_RECORD_BYTES }, (_, i) => {
    const gpa = bytes.readBigUInt64LE(i * PAGE_RECORD_BYTES);
    if (gpa < next || gpa % BigInt(PAGE_BYTES) !== 0n || gpa + BigInt(PAGE_BYTES) > BigInt(memoryBytes))
      throw new ContainerError(what, `page at 0x${gpa.toString(16)} is out of order or outside guest memory`);
    next = gpa + 1n;
    return { gpa: Number(gpa), bytes: bytes.subarray(i * PAGE_RECORD_BYTES + 8, (i + 1) * PAGE_RECORD_BYTES) };
  });
}

const parse = ({ payload }: Section): unknown => JSON.parse(Buffer.from(payload).toString('utf8'));

/** A malformed value in a container whose checksums hold was written by something else: an error of the input, not of ours. */
function guard<T>(what: string, part: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof ContainerError) throw error;
    throw new ContainerError(what, `${part} is malformed: ${(error as Error).message}`);
  }
}
