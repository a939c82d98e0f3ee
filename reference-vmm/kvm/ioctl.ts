/** The ioctls that the monitor uses, and only those: numbers as `linux/kvm.h` makes them. */
import { LAYOUT, type StructName } from './layout.js';

/** asm-generic/ioctl.h: direction in bits 30-31, size of the argument in 16-29, type in 8-15, number in 0-7. */
const KVMIO = 0xae;
const encode = (direction: number, number: number, size: number): number =>
  ((direction << 30) | (size << 16) | (KVMIO << 8) | number) >>> 0;
const io = (number: number): number => encode(0, number, 0);
const iow = (number: number, struct: StructName | number): number => encode(1, number, sizeOf(struct));
const ior = (number: number, struct: StructName | number): number => encode(2, number, sizeOf(struct));
const iowr = (number: number, struct: StructName | number): number => encode(3, number, sizeOf(struct));
const sizeOf = (struct: StructName | number): number => (typeof struct === 'number' ? struct : LAYOUT[struct].size);

export const IOCTL = {
  KVM_GET_API_VERSION: io(0x00),
  KVM_CREATE_VM: io(0x01),
  KVM_GET_MSR_INDEX_LIST: iowr(0x02, 'kvm_msr_list'),
  KVM_CHECK_EXTENSION: io(0x03),
  KVM_GET_VCPU_MMAP_SIZE: io(0x04),
  KVM_GET_SUPPORTED_CPUID: iowr(0x05, 'kvm_cpuid2'),
  KVM_GET_EMULATED_CPUID: iowr(0x09, 'kvm_cpuid2'),
  KVM_GET_MSR_FEATURE_INDEX_LIST: iowr(0x0a, 'kvm_msr_list'),
  KVM_CREATE_VCPU: io(0x41),
  KVM_GET_DIRTY_LOG: iow(0x42, 'kvm_dirty_log'),
  KVM_SET_USER_MEMORY_REGION: iow(0x46, 'kvm_userspace_memory_region'),
  KVM_SET_TSS_ADDR: io(0x47),
  KVM_SET_IDENTITY_MAP_ADDR: iow(0x48, 8),
  KVM_SET_CLOCK: iow(0x7b, 'kvm_clock_data'),
  KVM_GET_CLOCK: ior(0x7c, 'kvm_clock_data'),
  KVM_RUN: io(0x80),
  KVM_GET_REGS: ior(0x81, 'kvm_regs'),
  KVM_SET_REGS: iow(0x82, 'kvm_regs'),
  KVM_GET_SREGS: ior(0x83, 'kvm_sregs'),
  KVM_SET_SREGS: iow(0x84, 'kvm_sregs'),
  KVM_TRANSLATE: iowr(0x85, 'kvm_translation'),
  KVM_GET_MSRS: iowr(0x88, 'kvm_msrs'),
  KVM_SET_MSRS: iow(0x89, 'kvm_msrs'),
  KVM_SET_SIGNAL_MASK: iow(0x8b, 'kvm_signal_mask'),
  KVM_GET_FPU: ior(0x8c, 'kvm_fpu'),
  KVM_SET_FPU: iow(0x8d, 'kvm_fpu'),
  KVM_GET_LAPIC: ior(0x8e, 'kvm_lapic_state'),
  KVM_SET_LAPIC: iow(0x8f, 'kvm_lapic_state'),
  KVM_SET_CPUID2: iow(0x90, 'kvm_cpuid2'),
  KVM_GET_CPUID2: iowr(0x91, 'kvm_cpuid2'),
  KVM_GET_MP_STATE: ior(0x98, 'kvm_mp_state'),
  KVM_SET_MP_STATE: iow(0x99, 'kvm_mp_state'),
  KVM_GET_VCPU_EVENTS: ior(0x9f, 'kvm_vcpu_events'),
  KVM_SET_VCPU_EVENTS: iow(0xa0, 'kvm_vcpu_events'),
  KVM_GET_DEBUGREGS: ior(0xa1, 'kvm_debugregs'),
  KVM_SET_DEBUGREGS: iow(0xa2, 'kvm_debugregs'),
  KVM_SET_TSC_KHZ: io(0xa2),
  KVM_GET_TSC_KHZ: io(0xa3),
  KVM_ENABLE_CAP: iow(0xa3, 'kvm_enable_cap'),
  KVM_GET_XSAVE: ior(0xa4, 'kvm_xsave'),
  KVM_SET_XSAVE: iow(0xa5, 'kvm_xsave'),
  KVM_GET_XCRS: ior(0xa6, 'kvm_xcrs'),
  KVM_SET_XCRS: iow(0xa7, 'kvm_xcrs'),
  KVM_CLEAR_DIRTY_LOG: iowr(0xc0, 'kvm_clear_dirty_log'),
  KVM_X86_SET_MSR_FILTER: iow(0xc6, 'kvm_msr_filter'),
  KVM_GET_XSAVE2: ior(0xcf, 'kvm_xsave'),
} as const;

export type IoctlName = keyof typeof IOCTL;

/** Exit reasons of `kvm_run` that an x86 guest can cause. */
export const EXIT_REASON = {
  KVM_EXIT_UNKNOWN: 0,
  KVM_EXIT_EXCEPTION: 1,
  KVM_EXIT_IO: 2,
  KVM_EXIT_HYPERCALL: 3,
  KVM_EXIT_DEBUG: 4,
  KVM_EXIT_HLT: 5,
  KVM_EXIT_MMIO: 6,
  KVM_EXIT_IRQ_WINDOW_OPEN: 7,
  KVM_EXIT_SHUTDOWN: 8,
  KVM_EXIT_FAIL_ENTRY: 9,
  KVM_EXIT_INTR: 10,
  KVM_EXIT_SET_TPR: 11,
  KVM_EXIT_TPR_ACCESS: 12,
  KVM_EXIT_NMI: 16,
  KVM_EXIT_INTERNAL_ERROR: 17,
  KVM_EXIT_SYSTEM_EVENT: 24,
  KVM_EXIT_IOAPIC_EOI: 26,
  KVM_EXIT_HYPERV: 27,
  KVM_EXIT_X86_RDMSR: 29,
  KVM_EXIT_X86_WRMSR: 30,
  KVM_EXIT_X86_BUS_LOCK: 33,
  KVM_EXIT_NOTIFY: 37,
} as const;

/** The kernel's name of an exit reason, for messages. */
export const exitName = (code: number): string =>
  Object.entries(EXIT_REASON).find(([, value]) => value === code)?.[0] ?? `KVM_EXIT ${code}`;

/** Flags and constants under the headers' names. */
export const KVM = {
  KVM_API_VERSION: 12,
  KVM_CPUID_FLAG_SIGNIFCANT_INDEX: 1,
  KVM_MAX_CPUID_ENTRIES: 256,
  KVM_MEM_LOG_DIRTY_PAGES: 1,
  KVM_MEM_READONLY: 2,
  KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE: 1,
  KVM_DIRTY_LOG_INITIALLY_SET: 2,
  KVM_EXIT_IO_OUT: 1,
  KVM_MSR_FILTER_READ: 1,
  KVM_MSR_FILTER_WRITE: 2,
  KVM_MSR_FILTER_DEFAULT_DENY: 1,
  KVM_MSR_FILTER_MAX_RANGES: 16,
  KVM_CLOCK_REALTIME: 4,
} as const;
