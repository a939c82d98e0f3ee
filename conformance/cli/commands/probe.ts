/** `guest-abi probe`: boots a pair, and shows what the guest saw. */
import { Command, Option } from 'commander';
import { withCommon, withHost, withPairs } from '../options.js';
import type { ProbeOptions } from '../probe.js';
import type { WriteSweepOptions } from '../write-sweep.js';

export const probeCommand = (): Command =>
  withHost(withPairs(withCommon(new Command('probe'))))
    .description('boot a pair, dump its CPU from inside, decode')
    .option('--subject <name>', 'hypervisor under test', 'reference-vmm')
    .option('--msrs', 'list the MSRs too')
    .addOption(
      new Option(
        '--write-msrs <mode>',
        'instead: write to MSRs, read back, restore; all that are named, or every index',
      ).choices(['cheap', 'expensive']),
    )
    .action(async (options: ProbeOptions & Partial<WriteSweepOptions>) => {
      const { writeMsrs } = options;
      if (writeMsrs) {
        const { writeSweep } = await import('../write-sweep.js');
        process.exitCode = await writeSweep({ ...options, writeMsrs });
        return;
      }
      const { probe } = await import('../probe.js');
      process.exitCode = await probe(options);
    });
