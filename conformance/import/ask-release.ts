/** Everything that definitions are made of, asked of one QEMU. */
import { MachineError } from '../../corpora/errors.js';
import { runCommand } from '../packages/command.js';
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
  const notes = await askNotes(launcher);
  return new Release(`${major}.${minor}`, { ...(expansion as unknown as ReleaseDump), hidden, notes });
}

/** Versioned model -> its note, which no QMP command tells: `  Icelake-Server-v2  Intel Xeon Processor (Icelake) [no TSX]`. */
async function askNotes(launcher: QemuLauncher): Promise<Record<string, string>> {
  const [program, ...args] = launcher.argv(['-cpu', 'help']);
  const env = { ...process.env, ...launcher.env };
  const { status, stdout } = await runCommand(program, args, { deadline: 60_000, env });
  if (status !== 0)
    throw new MachineError('qemu-expansion', `QEMU ${launcher.version} does not list its models`, {
      given: launcher.name,
    });
  return Object.fromEntries(
    [...stdout.matchAll(/^(?:x86)? +(\S+-v\d+) .*\[([^\]]+)\] *$/gm)].map(([, model, note]) => [model!, note!]),
  );
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
