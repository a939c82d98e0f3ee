/** What a measurement was taken on. */
import { availableParallelism, loadavg } from 'node:os';
import { readHostFacts } from '../../reference-vmm/kvm/host-facts.js';

export interface MachineFacts {
  readonly kernel: string;
  readonly module: string;
  readonly cpu: string;
  readonly cores: number;
  readonly node: string;
  /** Load average of the last minute: above the number of cores, others were at work. */
  readonly load: number;
}

export function machineFacts(): MachineFacts {
  const { kernel, module, cpuModel } = readHostFacts();
  const [load] = loadavg();
  return { kernel, module, cpu: cpuModel, cores: availableParallelism(), node: process.version, load: load! };
}

/** Highest resident memory of this process so far, in MiB. */
export const peakMemory = (): number => process.resourceUsage().maxRSS / 1024;
