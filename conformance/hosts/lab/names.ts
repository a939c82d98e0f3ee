/** Names of lab hosts: `lab:6.12`, `lab:6.12.107+deb13/EPYC`, `lab:*`, and what of the cache they stand for. */
import { InputError, MachineError, nearestNames } from '../../../corpora/errors.js';
import type { LabKernel } from './kernels.js';
import { type LabCpu, labCpu } from './lab-cpus.js';

/** The lab CPU where a name gives none. */
export const DEFAULT_CPU = 'EPYC';

export interface LabChoice {
  readonly kernel: LabKernel;
  readonly cpu: LabCpu;
}

/** What results call it. */
export const labHostId = ({ kernel, cpu }: LabChoice): string => `lab:${kernel.id}/${cpu.name}`;

/**
 * The hosts that `name` (after `lab:`) stands for: `KERNEL[/CPU]`, where KERNEL is an id, the beginning of one up to a
 * separator (the newest that fits is taken), or `*` for all. `kernels` are those of the cache, oldest first.
 * Throws `MachineError` `lab-empty` on an empty cache, `InputError` on a name that fits nothing.
 */
export function chooseLabHosts(name: string, kernels: readonly LabKernel[]): LabChoice[] {
  const [kernelName, cpuName = DEFAULT_CPU, ...rest] = name.split('/');
  if (!kernelName || rest.length > 0)
    throw new InputError('bad-lab-host', `lab:${name} is not lab:KERNEL or lab:KERNEL/CPU`, { given: name });
  if (kernels.length === 0)
    throw new MachineError('lab-empty', 'no lab kernel is in the cache: run guest-abi lab setup', { given: name });
  const cpu = labCpu(cpuName);
  const fitting = kernelName === '*' ? kernels : kernels.filter((kernel) => fits(kernel.id, kernelName)).slice(-1);
  if (fitting.length === 0) throw unknownKernel(kernelName, kernels);
  return fitting.map((kernel) => ({ kernel, cpu }));
}

const fits = (id: string, name: string): boolean =>
  id === name || (id.startsWith(name) && /[.+-]/.test(id[name.length]!));

function unknownKernel(name: string, kernels: readonly LabKernel[]): InputError {
  const ids = kernels.map((kernel) => kernel.id);
  const nearest = nearestNames(name, ids);
  return new InputError('unknown-lab-kernel', `no lab kernel '${name}' in the cache; there are: ${ids.join(', ')}`, {
    given: name,
    nearest,
  });
}
