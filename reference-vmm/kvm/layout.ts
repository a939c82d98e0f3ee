/** Layouts of the kernel's structs (`linux/kvm.h`, x86 `asm/kvm.h`): sizes and byte offsets, under the headers' names. */

export interface StructLayout {
  readonly size: number;
  readonly offsets: Readonly<Record<string, number>>;
}

/** Offsets of fields that follow each other, `width` bytes each. */
const row = <const N extends string>(names: readonly N[], start: number, width: number): Record<N, number> =>
  Object.fromEntries(names.map((name, i) => [name, start + i * width])) as Record<N, number>;

const GENERAL = [
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
  ...['rip', 'rflags'],
];

export const LAYOUT = {
  kvm_regs: { size: 144, offsets: row(GENERAL, 0, 8) },
  kvm_segment: {
    size: 24,
    offsets: {
      base: 0,
      limit: 8,
      selector: 12,
      ...row(['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'], 14, 1),
    },
  },
  kvm_dtable: { size: 16, offsets: { base: 0, limit: 8 } },
  kvm_sregs: {
    size: 312,
    offsets: {
      ...row(['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'], 0, 24),
      gdt: 192,
      idt: 208,
      ...row(['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apic_base', 'interrupt_bitmap'], 224, 8),
    },
  },
  kvm_translation: { size: 24, offsets: { linear_address: 0, physical_address: 8, valid: 16 } },
  kvm_fpu: { size: 416, offsets: {} },
  kvm_xsave: { size: 4096, offsets: {} },
  kvm_xcr: { size: 16, offsets: { xcr: 0, value: 8 } },
  kvm_xcrs: { size: 392, offsets: { nr_xcrs: 0, flags: 4, xcrs: 8 } },
  kvm_debugregs: { size: 128, offsets: {} },
  kvm_lapic_state: { size: 1024, offsets: {} },
  kvm_vcpu_events: { size: 64, offsets: {} },
  kvm_mp_state: { size: 4, offsets: { mp_state: 0 } },
  kvm_cpuid_entry2: {
    size: 40,
    offsets: { function: 0, index: 4, flags: 8, eax: 12, ebx: 16, ecx: 20, edx: 24 },
  },
  kvm_cpuid2: { size: 8, offsets: { nent: 0, entries: 8 } },
  kvm_msr_entry: { size: 16, offsets: { index: 0, data: 8 } },
  kvm_msrs: { size: 8, offsets: { nmsrs: 0, entries: 8 } },
  kvm_msr_list: { size: 4, offsets: { nmsrs: 0, indices: 4 } },
  kvm_userspace_memory_region: {
    size: 32,
    offsets: { slot: 0, flags: 4, guest_phys_addr: 8, memory_size: 16, userspace_addr: 24 },
  },
  kvm_dirty_log: { size: 16, offsets: { slot: 0, dirty_bitmap: 8 } },
  kvm_clear_dirty_log: { size: 24, offsets: { slot: 0, num_pages: 4, first_page: 8, dirty_bitmap: 16 } },
  kvm_enable_cap: { size: 104, offsets: { cap: 0, flags: 4, args: 8 } },
  kvm_clock_data: { size: 48, offsets: { clock: 0, flags: 8, realtime: 16, host_tsc: 24 } },
  kvm_msr_filter_range: { size: 24, offsets: { flags: 0, nmsrs: 4, base: 8, bitmap: 16 } },
  kvm_msr_filter: { size: 392, offsets: { flags: 0, ranges: 8 } },
  kvm_signal_mask: { size: 4, offsets: { len: 0, sigset: 4 } },
  /** `size` is that of the header's struct; the mapping is KVM_GET_VCPU_MMAP_SIZE long. Unions begin at 32. */
  kvm_run: {
    size: 2352,
    offsets: {
      immediate_exit: 1,
      exit_reason: 8,
      'fail_entry.hardware_entry_failure_reason': 32,
      'fail_entry.cpu': 40,
      'io.direction': 32,
      'io.size': 33,
      'io.port': 34,
      'io.count': 36,
      'io.data_offset': 40,
      'mmio.phys_addr': 32,
      'mmio.data': 40,
      'mmio.len': 48,
      'mmio.is_write': 52,
      'internal.suberror': 32,
      'internal.ndata': 36,
      'internal.data': 40,
      'system_event.type': 32,
      'msr.error': 32,
      'msr.reason': 40,
      'msr.index': 44,
      'msr.data': 48,
    },
  },
} as const satisfies Record<string, StructLayout>;

export type StructName = keyof typeof LAYOUT;
