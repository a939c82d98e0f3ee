/** A vCPU's registers as values, named as in the kernel's `kvm_regs` and `kvm_sregs`. */

export const GENERAL_REGISTERS = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
] as const;

/** `struct kvm_regs`. */
export type Regs = Readonly<Record<(typeof GENERAL_REGISTERS)[number], bigint>>;

/** `struct kvm_segment`. */
export interface Segment {
  readonly base: bigint;
  /** In bytes, whatever the granularity. */
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}

/** `struct kvm_dtable`. */
export interface DescriptorTable {
  readonly base: bigint;
  readonly limit: number;
}

export const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;
export const CONTROL_REGISTERS = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'] as const;

/** `struct kvm_sregs`. */
export type Sregs = Readonly<Record<(typeof SEGMENTS)[number], Segment>> &
  Readonly<Record<(typeof CONTROL_REGISTERS)[number], bigint>> & {
    readonly gdt: DescriptorTable;
    readonly idt: DescriptorTable;
    /** Four words: the external interrupts pending for injection. */
    readonly interruptBitmap: readonly bigint[];
  };
