/** `guest-abi probe`: boots a pair, and shows what the guest saw. */
import { Command, Option } from 'commander';
import { withCommon, withHost, withPairs } from '../options.js';
import type { ProbeOptions } from '../probe.js';
import type { ReadSweepOptions } from '../read-sweep.js';
import type { WriteSweepOptions } from '../write-sweep.js';

const MODES = ['cheap', 'expensive'];

export const probeCommand = (): Command =>
  withHost(withPairs(withCommon(new Command('probe'))))
    .description('boot a pair, dump its CPU from inside, decode')
    .option('--subject <name>', 'hypervisor under test', 'reference-vmm')
    .option('--msrs', 'list the MSRs too')
    .addOption(
      new Option(
        '--read-msrs <mode>',
        'instead: read MSRs, of any pairs on any hosts, as a table; all that are named, or every index',
      ).choices(MODES),
    )
    .addOption(
      new Option(
        '--write-msrs <mode>',
        'instead: write to MSRs, read back, restore; all that are named, or every index',
      ).choices(MODES),
    )
    .action(async (options: ProbeOptions & Partial<ReadSweepOptions & WriteSweepOptions>) => {
      const { readMsrs, writeMsrs } = options;
      if (readMsrs) {
        const { readSweep } = await import('../read-sweep.js');
        process.exitCode = await readSweep({ ...options, readMsrs });
        return;
      }
      if (writeMsrs) {
        const { writeSweep } = await import('../write-sweep.js');
        process.exitCode = await writeSweep({ ...options, writeMsrs });
        return;
      }
      const { probe } = await import('../probe.js');
      process.exitCode = await probe(options);
    });
