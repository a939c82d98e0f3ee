/** `guest-abi probe`: boots a pair, and shows what the guest saw. */
import { Command } from 'commander';
import { withCommon, withHost, withPairs } from '../options.js';
import type { ProbeOptions } from '../probe.js';

export const probeCommand = (): Command =>
  withHost(withPairs(withCommon(new Command('probe'))))
    .description('boot a pair, dump its CPU from inside, decode')
    .option('--subject <name>', 'hypervisor under test', 'reference-vmm')
    .option('--msrs', 'list the MSRs too')
    .action(async (options: ProbeOptions) => {
      const { probe } = await import('../probe.js');
      process.exitCode = await probe(options);
    });
