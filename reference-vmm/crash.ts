/** The end of a guest that cannot go on: why, where, and with which registers and instruction. */
import { hexShort } from '../corpora/hex.js';
import type { VcpuExit } from './kvm/exit.js';
import { type GuestMemory, gpa } from './kvm/guest-memory.js';
import { exitName } from './kvm/ioctl.js';
import type { Vcpu } from './kvm/kvm.js';
import { GENERAL_REGISTERS, type Regs, type Sregs } from './kvm/registers.js';

export interface Crash {
  /** Stable: `internal-error`, `fail-entry`, `unknown-exit`, `guest-address`, `triple-fault`. */
  readonly cause: string;
  /** One line for a person. */
  readonly message: string;
  readonly regs: Regs;
  readonly sregs: Sregs;
  /** The instruction at CS:RIP, up to 15 bytes; empty where it cannot be read. */
  readonly instruction: Uint8Array;
}

/** KVM_INTERNAL_ERROR_* of linux/kvm.h. */
const SUBERRORS: Readonly<Record<number, string>> = {
  1: 'emulation failed',
  2: 'simultaneous exceptions',
  3: 'exit during event delivery',
  4: 'unexpected exit reason',
};
/** KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES. */
const HAS_INSTRUCTION = 1n;
const INSTRUCTION_CAP = 15;

/** Describes the exit that ended a guest. */
export function crashOf(exit: VcpuExit, vcpu: Vcpu, memory: GuestMemory): Crash {
  if (exit.reason === 'internal-error') {
    const why = SUBERRORS[exit.suberror] ?? 'unknown';
    const what = `KVM_EXIT_INTERNAL_ERROR, suberror ${exit.suberror} (${why})`;
    return crash('internal-error', what, vcpu, memory, exit.suberror === 1 ? reportedInstruction(exit.data) : null);
  }
  if (exit.reason === 'shutdown')
    return crash('triple-fault', `KVM_EXIT_SHUTDOWN (${tripleFault(vcpu)})`, vcpu, memory);
  if (exit.reason === 'fail-entry')
    return crash(
      'fail-entry',
      `KVM_EXIT_FAIL_ENTRY, hardware reason 0x${exit.hardwareReason.toString(16)} on CPU ${exit.cpu}`,
      vcpu,
      memory,
    );
  if (exit.reason === 'unknown') return crash('unknown-exit', `${exitName(exit.code)}, not handled`, vcpu, memory);
  if (exit.reason === 'system-event') return crash('unknown-exit', `system event ${exit.type}`, vcpu, memory);
  return crash('unknown-exit', `unexpected exit '${exit.reason}'`, vcpu, memory);
}

const RESET_VECTOR = 0xfff0n;

/** kvm_amd resets the vCPU before it tells (Linux arch/x86/kvm/svm/svm.c, shutdown_interception): its registers are not the guest's. */
const tripleFault = (vcpu: Vcpu): string =>
  vcpu.getRegs().rip === RESET_VECTOR ? 'triple fault; KVM reset the vCPU, where it was is lost' : 'triple fault';

/** A crash whose cause is known to the caller; `what` begins its message. */
export function crash(
  cause: string,
  what: string,
  vcpu: Vcpu,
  memory: GuestMemory,
  reported: Uint8Array | null = null,
): Crash {
  const regs = vcpu.getRegs();
  const sregs = vcpu.getSregs();
  const instruction = reported ?? fetchInstruction(vcpu, regs, sregs, memory);
  const bytes = Buffer.from(instruction).toString('hex').replace(/../g, ' $&');
  const at = `${sregs.cs.selector.toString(16)}:${regs.rip.toString(16)}`;
  return {
    cause,
    message: `${what} at ${at}, instruction bytes${bytes || ' unreadable'}; ${registerLine(regs, sregs)}`,
    ...{ regs, sregs, instruction },
  };
}

/** KVM_MP_STATE_* of x86. */
const MP_STATES = ['runnable', 'not started', 'waits for SIPI', 'halted'];

/** Where a vCPU stands; of one that runs, also with which registers. */
export function whereabouts(vcpu: Vcpu): string {
  const state = vcpu.getState('mp-state')[0]!;
  const [regs, sregs] = [vcpu.getRegs(), vcpu.getSregs()];
  const at = `at ${sregs.cs.selector.toString(16)}:${regs.rip.toString(16)}`;
  return state === 0 ? `${at} (${registerLine(regs, sregs)})` : `${MP_STATES[state] ?? `in state ${state}`}, ${at}`;
}

/** The bytes that KVM says it could not emulate: flags, then length and bytes (struct emulation_failure). */
function reportedInstruction(data: readonly bigint[]): Uint8Array | null {
  if (data.length < 3 || !(data[0]! & HAS_INSTRUCTION)) return null;
  const bytes = new Uint8Array(BigUint64Array.of(data[1]!, data[2]!).buffer);
  return bytes.slice(1, 1 + Math.min(bytes[0]!, INSTRUCTION_CAP));
}

/** What stands at CS:RIP, through the guest's own page tables; up to the first byte that is in no memory. */
function fetchInstruction(vcpu: Vcpu, { rip }: Regs, { cs }: Sregs, memory: GuestMemory): Uint8Array {
  // In 64-bit mode the base of CS counts as 0.
  const start = cs.l ? rip : BigInt.asUintN(32, cs.base + rip);
  const bytes: number[] = [];
  while (bytes.length < INSTRUCTION_CAP) {
    const physical = vcpu.translate(BigInt.asUintN(64, start + BigInt(bytes.length)));
    const [byte] = physical === null ? [] : readable(memory, Number(physical));
    if (byte === undefined) break;
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** The byte at an address; empty where no memory is. */
function readable(memory: GuestMemory, address: number): Uint8Array {
  const isThere = memory.regions.some(({ gpa: base, bytes }) => address >= base && address < base + bytes.length);
  return isThere ? memory.at(gpa(address), 1) : new Uint8Array(0);
}

const registerLine = (regs: Regs, { cr0, cr2, cr3, cr4, efer }: Sregs): string =>
  [...GENERAL_REGISTERS.map((name) => [name, regs[name]] as const), ...Object.entries({ cr0, cr2, cr3, cr4, efer })]
    .filter(([name, value]) => value !== 0n || name === 'rax')
    .map(([name, value]) => `${name}=${value < 2n ** 32n ? hexShort(Number(value)) : `0x${value.toString(16)}`}`)
    .join(' ');
