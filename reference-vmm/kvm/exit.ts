/** Why KVM_RUN came back, as a value. */

/** One port access of the guest, or `count` of one string instruction. */
export interface IoExit {
  readonly reason: 'io';
  readonly direction: 'in' | 'out';
  readonly port: number;
  /** Bytes of one access: 1, 2 or 4. */
  readonly size: number;
  /** Accesses of a string instruction. */
  readonly count: number;
  /** `size * count` bytes: what the guest wrote, or where to write what it reads. Valid until the next run. */
  readonly data: Uint8Array;
}

export interface MmioExit {
  readonly reason: 'mmio';
  readonly direction: 'read' | 'write';
  readonly gpa: number;
  /** What the guest wrote, or where to write what it reads. Valid until the next run. */
  readonly data: Uint8Array;
}

/** An MSR access that KVM hands to us (KVM_CAP_X86_USER_SPACE_MSR). */
export interface MsrExit {
  readonly reason: 'rdmsr' | 'wrmsr';
  readonly index: number;
  /** What the guest wrote; 0 for a read. */
  readonly value: bigint;
  /** KVM_MSR_EXIT_REASON_*: 1 invalid, 2 unknown, 4 filtered. */
  readonly why: number;
  /** Answers the guest: the value read (ignored for a write), or `#GP`. */
  answer(value: bigint | '#GP'): void;
}

export type VcpuExit =
  | IoExit
  | MmioExit
  | MsrExit
  | { readonly reason: 'hlt' }
  /** Triple fault. */
  | { readonly reason: 'shutdown' }
  /** KVM_EXIT_FAIL_ENTRY: the CPU would not enter the guest. */
  | { readonly reason: 'fail-entry'; readonly hardwareReason: bigint; readonly cpu: number }
  /** KVM_EXIT_INTERNAL_ERROR: KVM itself gave up, e.g. its emulator met an instruction that it does not know (suberror 1). */
  | { readonly reason: 'internal-error'; readonly suberror: number; readonly data: readonly bigint[] }
  /** KVM_EXIT_SYSTEM_EVENT: 1 shutdown, 2 reset, 3 crash. */
  | { readonly reason: 'system-event'; readonly type: number }
  /** A signal came before the guest exited; run again to go on. */
  | { readonly reason: 'interrupted' }
  /** The deadline passed. */
  | { readonly reason: 'timeout' }
  /** An exit that this monitor does not know. */
  | { readonly reason: 'unknown'; readonly code: number };
