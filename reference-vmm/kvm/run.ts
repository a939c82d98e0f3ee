/** The page that KVM_RUN shares with us (`struct kvm_run`): decodes why it came back. */
import type { IoExit, MmioExit, MsrExit, VcpuExit } from './exit.js';
import { EXIT_REASON, KVM } from './ioctl.js';
import { LAYOUT } from './layout.js';

const AT = LAYOUT.kvm_run.offsets;

export class RunPage {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** `bytes` is the mapping of the vCPU, KVM_GET_VCPU_MMAP_SIZE long. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** KVM_RUN then only finishes what is pending, and fails with EINTR. */
  set immediateExit(on: boolean) {
    this.#view.setUint8(AT.immediate_exit, on ? 1 : 0);
  }

  exit(): VcpuExit {
    const code = this.#view.getUint32(AT.exit_reason, true);
    switch (code) {
      case EXIT_REASON.KVM_EXIT_IO:
        return this.#io();
      case EXIT_REASON.KVM_EXIT_MMIO:
        return this.#mmio();
      case EXIT_REASON.KVM_EXIT_X86_RDMSR:
        return this.#msr('rdmsr');
      case EXIT_REASON.KVM_EXIT_X86_WRMSR:
        return this.#msr('wrmsr');
      case EXIT_REASON.KVM_EXIT_HLT:
        return { reason: 'hlt' };
      case EXIT_REASON.KVM_EXIT_SHUTDOWN:
        return { reason: 'shutdown' };
      case EXIT_REASON.KVM_EXIT_INTR:
        return { reason: 'interrupted' };
      case EXIT_REASON.KVM_EXIT_FAIL_ENTRY:
        return {
          reason: 'fail-entry',
          hardwareReason: this.#view.getBigUint64(AT['fail_entry.hardware_entry_failure_reason'], true),
          cpu: this.#view.getUint32(AT['fail_entry.cpu'], true),
        };
      case EXIT_REASON.KVM_EXIT_INTERNAL_ERROR:
        return this.#internalError();
      case EXIT_REASON.KVM_EXIT_SYSTEM_EVENT:
        return { reason: 'system-event', type: this.#view.getUint32(AT['system_event.type'], true) };
      default:
        return { reason: 'unknown', code };
    }
  }

  #io(): IoExit {
    const view = this.#view;
    const size = view.getUint8(AT['io.size']);
    const count = view.getUint32(AT['io.count'], true);
    const at = Number(view.getBigUint64(AT['io.data_offset'], true));
    return {
      reason: 'io',
      direction: view.getUint8(AT['io.direction']) === KVM.KVM_EXIT_IO_OUT ? 'out' : 'in',
      port: view.getUint16(AT['io.port'], true),
      size,
      count,
      data: this.#bytes.subarray(at, at + size * count),
    };
  }

  #mmio(): MmioExit {
    const at = AT['mmio.data'];
    return {
      reason: 'mmio',
      direction: this.#view.getUint8(AT['mmio.is_write']) ? 'write' : 'read',
      gpa: Number(this.#view.getBigUint64(AT['mmio.phys_addr'], true)),
      data: this.#bytes.subarray(at, at + this.#view.getUint32(AT['mmio.len'], true)),
    };
  }

  #msr(reason: 'rdmsr' | 'wrmsr'): MsrExit {
    const view = this.#view;
    return {
      reason,
      index: view.getUint32(AT['msr.index'], true),
      value: reason === 'wrmsr' ? view.getBigUint64(AT['msr.data'], true) : 0n,
      why: view.getUint32(AT['msr.reason'], true),
      answer(value) {
        view.setUint8(AT['msr.error'], value === '#GP' ? 1 : 0);
        if (value !== '#GP') view.setBigUint64(AT['msr.data'], value, true);
      },
    };
  }

  #internalError(): VcpuExit {
    const count = Math.min(this.#view.getUint32(AT['internal.ndata'], true), 16);
    return {
      reason: 'internal-error',
      suberror: this.#view.getUint32(AT['internal.suberror'], true),
      data: Array.from({ length: count }, (_, i) => this.#view.getBigUint64(AT['internal.data'] + i * 8, true)),
    };
  }
}
