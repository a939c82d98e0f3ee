/** Subjects: hypervisors under test, by name. */
import { InputError, nearestNames } from '../../corpora/errors.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import { QEMU_RELEASES } from '../packages/qemu-trees.js';

/** A QEMU as subject. */
export interface QemuSubject {
  /** `qemu-7.2` under TCG, `qemu-7.2,accel=kvm`, `qemu:/usr/bin/qemu-system-x86_64`. */
  readonly name: string;
  /** A release with a tree of its own, or a path. */
  readonly binary: string;
  readonly accel: Accelerator;
}

/** The name of the subject that is no QEMU. */
export const REFERENCE = 'reference-vmm';

/** Null for the reference monitor. Throws `InputError` for a name of no known form. */
export function parseSubject(text: string): QemuSubject | null {
  if (text === REFERENCE) return null;
  const [, name = text, accel] = /^(.*?)(?:,accel=(.*))?$/.exec(text) ?? [];
  if (accel !== undefined && accel !== 'tcg' && accel !== 'kvm')
    throw new InputError('unknown-accelerator', `--subject ${text}: accel is tcg or kvm, not '${accel}'`, {
      given: text,
    });
  const binary = name.startsWith('qemu:') ? name.slice('qemu:'.length) : name.replace(/^qemu-/, '');
  const known = name.startsWith('qemu:/') || (name.startsWith('qemu-') && QEMU_RELEASES.some((one) => one === binary));
  if (!known) throw unknownSubject(text);
  return { name: accel === 'kvm' ? `${name},accel=kvm` : name, binary, accel: accel ?? 'tcg' };
}

function unknownSubject(text: string): InputError {
  const names = [REFERENCE, ...QEMU_RELEASES.map((release) => `qemu-${release}`)];
  const message = `unknown subject '${text}': ${names.join(', ')} (each QEMU with ,accel=tcg or ,accel=kvm), or qemu:/path/of/a/QEMU`;
  return new InputError('unknown-subject', message, { given: text, nearest: nearestNames(text, names) });
}
