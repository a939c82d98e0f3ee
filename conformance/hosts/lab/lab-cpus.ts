/** Lab CPUs: what QEMU's emulator is asked to be, by name, from corpora/lab-cpus.json. */
import { readFileSync } from 'node:fs';
import { unknownName } from '../../../corpora/errors.js';
import { packageFile } from '../../../corpora/package-root.js';

export interface LabCpu {
  readonly name: string;
  /** Model of QEMU's `-cpu`, with `svm` and `npt` on. */
  readonly model: string;
  /** Features switched on beyond the model, whether the emulator can execute them or not. */
  readonly on: readonly string[];
  /** Features switched off: a kernel that sees them would execute what the emulator cannot. */
  readonly off: readonly string[];
  /** True where the emulator advertises features that it cannot execute: good for tables, not for running such code. */
  readonly forced: boolean;
  readonly note: string;
}

const cpus: readonly LabCpu[] = JSON.parse(readFileSync(packageFile('corpora/lab-cpus.json'), 'utf8')).cpus;

/** All lab CPUs, plain ones first. */
export const labCpus = (): readonly LabCpu[] => cpus;

/** Throws `InputError` for a name that is not in the data. */
export function labCpu(name: string): LabCpu {
  const found = cpus.find((cpu) => cpu.name === name);
  if (!found)
    throw unknownName(
      'lab CPU',
      name,
      cpus.map((cpu) => cpu.name),
    );
  return found;
}

/** The argument of QEMU's `-cpu`. */
export function cpuArgument(cpu: LabCpu): string {
  const on = ['svm', 'npt', ...cpu.on].map((feature) => `+${feature}`);
  const off = cpu.off.map((feature) => `-${feature}`);
  return [cpu.model, ...on, ...(cpu.forced ? ['x-force-features=on'] : []), ...off].join(',');
}
