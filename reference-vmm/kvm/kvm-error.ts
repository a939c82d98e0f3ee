/** Errors of the kernel: the call, the errno by name, and what it says. */
import { getSystemErrorMap } from 'node:util';
import { MachineError } from '../../corpora/errors.js';

const ERRNO: ReadonlyMap<number, readonly [name: string, meaning: string]> = getSystemErrorMap();

/** `EBUSY`. */
export const errnoName = (errno: number): string => ERRNO.get(-errno)?.[0] ?? `errno ${errno}`;

/** A system call that the kernel refused: `KVM_CREATE_VM: EBUSY (resource busy or locked)`. */
export class KvmError extends MachineError {
  /** The ioctl or call by its name in the headers. */
  readonly call: string;
  /** `EBUSY`. */
  readonly errno: string;

  constructor(call: string, errno: number, detail = '') {
    const name = errnoName(errno);
    const meaning = ERRNO.get(-errno)?.[1];
    super(`kvm-${name.toLowerCase()}`, `${call}: ${name}${meaning ? ` (${meaning})` : ''}${detail && `, ${detail}`}`);
    this.call = call;
    this.errno = name;
  }
}
