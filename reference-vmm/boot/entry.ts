/** The registers of a boot processor at entry: the same for multiboot (3.2), PVH and flat images. */
import type { Regs, Segment, Sregs } from '../kvm/registers.js';
import type { EntryState } from './plan.js';

const CODE_TYPE = 0xb;
const DATA_TYPE = 0x3;
const BUSY_TSS_TYPE = 0xb;
const CR0_PE_ET = 0x11n;
const RFLAGS_RESERVED = 0x2n;

const flat = (type: number, selector: number): Segment => ({
  ...{ base: 0n, limit: 0xffff_ffff, selector, type },
  ...{ present: 1, dpl: 0, db: 1, s: 1, l: 0, g: 1, avl: 0, unusable: 0 },
});

const code = flat(CODE_TYPE, 0x08);
const data = flat(DATA_TYPE, 0x10);
/** PVH: base 0, limit 0x67. */
const task: Segment = { ...flat(BUSY_TSS_TYPE, 0x18), limit: 0x67, s: 0, g: 0, db: 0 };

/** `sregs` of a vCPU at power-on, put into protected mode. */
export const entrySregs = (sregs: Sregs): Sregs => ({
  ...sregs,
  ...{ cs: code, ds: data, es: data, fs: data, gs: data, ss: data, tr: task },
  ...{ cr0: CR0_PE_ET, cr3: 0n, cr4: 0n, efer: 0n },
});

export const entryRegs = ({ eip, eax, ebx }: EntryState): Regs => ({
  ...{ rax: BigInt(eax), rbx: BigInt(ebx), rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rsp: 0n, rbp: 0n },
  ...{ r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n },
  ...{ rip: BigInt(eip), rflags: RFLAGS_RESERVED },
});
