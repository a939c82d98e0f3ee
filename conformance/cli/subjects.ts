/** From `--subject` and `--host` to hosts whose guests are those subjects'. */
import { isAbsolute } from 'node:path';
import { InputError, MachineError } from '../../corpora/errors.js';
import type { Host } from '../hosts/host.js';
import { cachedQemu, type QemuLauncher, qemuBinary } from '../packages/qemu-trees.js';
import { emulatorOf } from '../subjects/qemu/emulator.js';
import { onQemu, type SubjectOnHost } from '../subjects/qemu/on-qemu.js';
import { tcgHost } from '../subjects/qemu/tcg-host.js';
import { parseSubject, type QemuSubject } from '../subjects/subject.js';
import { type OpenHosts, openHosts } from './hosts.js';

/**
 * Each subject on each host, as a host of its own. A QEMU under TCG needs no KVM: unless hosts are named it runs on host `tcg`. Throws `InputError` on
 * names of no known form, `MachineError` where a QEMU is not there.
 */
export async function openSubjects(
  names: readonly string[] = ['reference-vmm'],
  on?: readonly string[],
): Promise<OpenHosts> {
  const subjects = [...new Set(names)].map(parseSubject);
  const qemus = await Promise.all(subjects.map(async (one) => one && located(one)));
  const needsKvm = subjects.some((one) => one?.accel !== 'tcg');
  const inside = on ? qemus.flatMap((one) => (one && !isAbsolute(one.binary) ? [one.binary] : [])) : [];
  const real = on || needsKvm ? await openHosts(on, inside) : null;
  const emulated = tcgHost();
  const hosts = qemus.flatMap((qemu): Host[] => {
    if (!qemu) return [...real!.hosts];
    return (on || qemu.accel === 'kvm' ? real!.hosts : [emulated]).map((host) => onQemu(host, qemu));
  });
  return { hosts, [Symbol.asyncDispose]: async () => real?.[Symbol.asyncDispose]() };
}

/** The QEMU of `qemu:BINARY` or `qemu-11.1`. Throws as `openSubjects` does. */
export async function qemuNamed(name: string): Promise<QemuLauncher> {
  const subject = parseSubject(name);
  if (!subject) throw new InputError('unknown-subject', `'${name}' is no QEMU`, { given: name });
  return launcherOf(subject);
}

/** Throws `MachineError` `qemu-missing` with its cure for a release without a tree here. */
async function launcherOf({ name, binary }: QemuSubject): Promise<QemuLauncher> {
  const launcher = isAbsolute(binary) ? await qemuBinary(binary) : await cachedQemu(binary);
  if (launcher) return launcher;
  throw new MachineError('qemu-missing', `QEMU ${binary} is not in the cache: guest-abi lab setup --qemu ${binary}`, {
    given: name,
  });
}

async function located(subject: QemuSubject): Promise<SubjectOnHost> {
  const { version } = await launcherOf(subject);
  return { ...subject, version, emulator: emulatorOf(version) };
}
