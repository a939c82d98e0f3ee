/** For tests: guests of a few bytes that write MSRs and say what they read. */
import type { CpuIdentity, MsrValue } from '../corpora/identity.js';
import { noNames } from './fixtures.js';
import type { Kvm } from './kvm/kvm.js';
import { Machine, type MachineEvent, type MachineOptions } from './monitor.js';

const imm32 = (value: number): number[] => [...new Uint8Array(Uint32Array.of(value).buffer)];
const low = (value: bigint): number => Number(value & 0xffffffffn);
const MOV_ECX = 0xb9;
const MOV_EAX = 0xb8;
const MOV_EDX = 0xba;
const RDMSR = [0x0f, 0x32];
const WRMSR = [0x0f, 0x30];
const MOV_EDX_EAX = [0x89, 0xd0];
/** out %eax, $0xf4: an exit whose code is EAX. */
const SAY = [0xe7, 0xf4];

/** Writes each value, having said its index; then says both halves of each MSR of `reads`, over and over. */
export function msrGuest(writes: readonly MsrValue[], reads: readonly number[]): number[] {
  const writing = writes.flatMap(({ index, value }) => [
    ...[MOV_EAX, ...imm32(index), ...SAY, MOV_ECX, ...imm32(index)],
    ...[MOV_EAX, ...imm32(low(value)), MOV_EDX, ...imm32(low(value >> 32n)), ...WRMSR],
  ]);
  const reading = reads.flatMap((index) => [MOV_ECX, ...imm32(index), ...RDMSR, ...SAY, ...MOV_EDX_EAX, ...SAY]);
  const JMP_BYTES = 5;
  return [...writing, ...reading, 0xe9, ...imm32(-(reading.length + JMP_BYTES) >>> 0)];
}

/** A machine of the identity with this code, also where the kernel alters its table or does not offer all. */
export function machineOf(
  kvm: Kvm,
  identity: CpuIdentity,
  code: readonly number[] | null,
  options: Partial<MachineOptions> = {},
): Machine {
  const creation = Machine.create(kvm, identity, {
    ...{ nameOf: noNames, allowAltered: true, forceFeatures: true },
    ...(code
      ? { boot: { image: { name: 'MSR guest', bytes: Uint8Array.from(code), protocol: 'flat' as const } } }
      : {}),
    ...options,
  });
  if (creation.kind === 'refused') throw new Error(creation.reasons.map(({ message }) => message).join('\n'));
  if (code) creation.machine.start();
  return creation.machine;
}

/** The next word that the guest says; throws with the event that came instead. */
export function nextWord(machine: Machine): number {
  const event: MachineEvent = machine.run({ timeoutMs: 5000 });
  if (event.kind !== 'exit') throw new Error(`the guest said nothing: ${event.kind}`);
  return event.code >>> 0;
}

/** Runs through all writes. Throws naming the MSR whose write faulted. */
export function letWrite(machine: Machine, writes: readonly MsrValue[]): void {
  let before = 'the start';
  for (const { index } of writes) {
    try {
      nextWord(machine);
    } catch (cause) {
      throw new Error(`the write of MSR ${before} faulted`, { cause });
    }
    before = index.toString(16);
  }
}

/** What the guest reads of each. */
export const readAll = (machine: Machine, reads: readonly number[]): MsrValue[] =>
  reads.map((index) => {
    const half = BigInt(nextWord(machine));
    return { index, value: half | (BigInt(nextWord(machine)) << 32n) };
  });
