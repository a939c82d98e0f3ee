/** Does what was found name what the case says that a probe must see? */
import { hex32, parseHex32 } from '../../corpora/hex.js';
import type { Reason } from '../../corpora/verdict.js';
import { parseField } from './fields.js';

/** True where a reason names the place: `CPUID 7.0.EBX[4]`, `MSR 0x0000010a`, `register CR4`, `state xsave`, `ioctl KVM_SET_CPUID2`, `code tsc-frequency`. */
export function isNamed(place: string, reasons: readonly Reason[]): boolean {
  const at = place.indexOf(' ');
  const [kind, what] = [place.slice(0, at), place.slice(at + 1)];
  switch (kind) {
    case 'CPUID':
      return reasons.some((reason) => namesField(reason, what));
    case 'MSR':
      return reasons.some(({ msr }) => msr === what);
    case 'register':
      return reasons.some(({ message }) => message.startsWith(`${what}:`));
    case 'state':
      return reasons.some(({ message }) => message.includes(`state '${what}'`) || message.includes(ioctlOf(what)));
    case 'ioctl':
      return reasons.some(({ message }) => message.includes(`${what}:`));
    default:
      return reasons.some(({ code }) => code === what);
  }
}

/** The ioctl that reads a part of the state. */
const ioctlOf = (part: string): string => `KVM_GET_${part.toUpperCase()}:`;

function namesField(reason: Reason, text: string): boolean {
  const { leaf, subleaf, register, bit } = parseField(text);
  if (reason.leaf !== hex32(leaf) || (subleaf !== null && reason.subleaf !== hex32(subleaf))) return false;
  if (register === null) return true;
  if (reason.register !== register) return false;
  return bit === null || reason.bit === bit || (reason.bit === null && differsIn(reason, bit));
}

/** A reason of a whole register names all bits in which its values differ. */
const differsIn = ({ contract, guest }: Reason, bit: number): boolean =>
  contract !== null && guest !== null && (((parseHex32(contract) ^ parseHex32(guest)) >>> bit) & 1) === 1;
