/** The real /dev/kvm. */
import { closeSync, openSync } from 'node:fs';
import type { CpuidTable } from '../../corpora/cpuid.js';
import { MachineError } from '../../corpora/errors.js';
import type { HostFacts } from '../../corpora/host-capabilities.js';
import type { MsrValue } from '../../corpora/identity.js';
import { CAPABILITIES, type Capability } from './capability.js';
import { decodeCpuid2, decodeMsrs, emptyCpuid2, encodeMsrs } from './codec.js';
import { readHostCpuid } from './host-cpuid.ffi.js';
import { readHostFacts } from './host-facts.js';
import { type IoctlName, KVM } from './ioctl.js';
import type { Kvm, Vm } from './kvm.js';
import { errnoName, KvmError } from './kvm-error.js';
import { ioctl, lastErrno, tryIoctl } from './libc.ffi.js';
import { MappingPool } from './mapping-pool.js';
import { RunTimer } from './run-timer.ffi.js';
import { RealVm } from './vm.js';

/**
 * Opens /dev/kvm, for the thread that calls. Throws `MachineError` `kvm-absent`, `kvm-denied` or `kvm-version`, each with its cure,
 * or `KvmError`.
 */
export function openKvm(path = '/dev/kvm'): Kvm {
  const fd = openDevice(path);
  try {
    const version = tryIoctl(fd, 'KVM_GET_API_VERSION');
    if (version < 0)
      throw new MachineError(
        'kvm-absent',
        `${path} is no KVM (KVM_GET_API_VERSION: ${errnoName(lastErrno())}); ${CURE}`,
        { given: path },
      );
    if (version !== KVM.KVM_API_VERSION)
      throw new MachineError('kvm-version', `${path} speaks KVM API ${version}, this monitor ${KVM.KVM_API_VERSION}`);
    return new RealKvm(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

const CURE =
  'load kvm_amd or kvm_intel, switch virtualization on in the firmware, or give this machine nested virtualization';

function openDevice(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw new MachineError(
        'kvm-denied',
        `${path}: permission denied; join the group kvm (usermod -aG kvm USER) or run as root`,
        {
          given: path,
          cause,
        },
      );
    if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO')
      throw new MachineError('kvm-absent', `${path}: ${code}; ${CURE}`, { given: path, cause });
    throw new MachineError('kvm-open', `${path}: ${(cause as Error).message}`, { given: path, cause });
  }
}

class RealKvm implements Kvm {
  readonly facts: HostFacts;
  readonly #fd: number;
  readonly #runBytes: number;
  readonly #timer: RunTimer;
  readonly #pool = new MappingPool();
  readonly #vms = new Set<RealVm>();
  #open = true;

  constructor(fd: number) {
    this.#fd = fd;
    this.facts = readHostFacts();
    this.#runBytes = ioctl(fd, 'KVM_GET_VCPU_MMAP_SIZE');
    this.#timer = new RunTimer();
  }

  checkExtension(capability: Capability): number {
    return ioctl(this.#fd, 'KVM_CHECK_EXTENSION', CAPABILITIES[capability]);
  }

  supportedCpuid(): CpuidTable {
    return this.#table('KVM_GET_SUPPORTED_CPUID');
  }

  emulatedCpuid(): CpuidTable {
    return this.#table('KVM_GET_EMULATED_CPUID');
  }

  hostCpuid(): CpuidTable {
    return readHostCpuid();
  }

  msrIndices(): number[] {
    return this.#indexList('KVM_GET_MSR_INDEX_LIST');
  }

  featureMsrs(): MsrValue[] {
    // One at a time: KVM stops at the first that it will not read.
    return this.#indexList('KVM_GET_MSR_FEATURE_INDEX_LIST').flatMap((index) => {
      const bytes = encodeMsrs([{ index, value: 0n }]);
      return decodeMsrs(bytes, ioctl(this.#fd, 'KVM_GET_MSRS', bytes));
    });
  }

  createVm(): Vm {
    const vm = new RealVm({
      fd: ioctl(this.#fd, 'KVM_CREATE_VM'),
      runBytes: this.#runBytes,
      timer: this.#timer,
      pool: this.#pool,
      onDispose: (gone) => this.#vms.delete(gone),
    });
    this.#vms.add(vm);
    return vm;
  }

  #table(name: IoctlName): CpuidTable {
    const bytes = emptyCpuid2();
    ioctl(this.#fd, name, bytes);
    return decodeCpuid2(bytes);
  }

  #indexList(name: IoctlName): number[] {
    // Asked for none, the kernel says E2BIG and how many there are.
    const count = new Uint32Array(1);
    if (tryIoctl(this.#fd, name, new Uint8Array(count.buffer)) < 0 && count[0] === 0)
      throw new KvmError(name, lastErrno());
    const list = new Uint32Array(1 + count[0]!);
    list[0] = count[0]!;
    ioctl(this.#fd, name, new Uint8Array(list.buffer));
    return [...list.subarray(1, 1 + list[0]!)];
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    for (const vm of [...this.#vms]) vm[Symbol.dispose]();
    this.#timer[Symbol.dispose]();
    this.#pool[Symbol.dispose]();
    closeSync(this.#fd);
  }
}
