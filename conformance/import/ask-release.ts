/** Everything that definitions are made of, asked of one QEMU. */
import { MachineError } from '../../corpora/errors.js';
import type { QemuLauncher } from '../packages/qemu-trees.js';
import { type ExpansionOptions, expandQemu, type Properties } from './qemu-expansion.js';
import { QemuProcess } from './qemu-process.js';
import { Release, type ReleaseDump } from './release.js';

/** Asks every versioned machine type under TCG and KVM: some 2,000 questions, minutes. Throws `MachineError` where QEMU refuses one. */
export async function askRelease(launcher: QemuLauncher, options: Omit<ExpansionOptions, 'accelerators'>) {
  const expansion = await expandQemu(launcher, options);
  const { major, minor } = expansion.qemu.qemu;
  if (expansion.errors.length)
    throw new MachineError('qemu-expansion', `QEMU ${launcher.version} would not expand ${expansion.errors[0]}`, {
      given: launcher.name,
    });
  const hidden = await askHidden(
    launcher,
    expansion.models.filter((name) => /-v\d+$/.test(name)),
  );
  return new Release(`${major}.${minor}`, { ...(expansion as unknown as ReleaseDump), hidden });
}

/** Versioned model -> controls of nested virtualization, which QEMU shows only where the CPU has `vmx`: TCG's never has. */
async function askHidden(launcher: QemuLauncher, models: readonly string[]): Promise<Record<string, string[]>> {
  await using qemu = await QemuProcess.start(launcher, ['-machine', 'pc', '-accel', 'tcg']);
  const hidden: Record<string, string[]> = {};
  for (const name of models) {
    const question = { type: 'full', model: { name, props: { vmx: true } } };
    const answer = await qemu.qmp.execute('query-cpu-model-expansion', question, 60_000);
    const { props } = (answer as { model: { props: Properties } }).model;
    hidden[name] = Object.keys(props).filter((property) => property.startsWith('vmx-') && props[property] === true);
  }
  return hidden;
}
