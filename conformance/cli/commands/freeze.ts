/** `guest-abi freeze`: contracts of a new machine type. */
import { Command } from 'commander';
import type { FreezeOptions } from '../freeze.js';
import { collect, withCommon } from '../options.js';

export const freezeCommand = (): Command =>
  withCommon(new Command('freeze'))
    .description('write contracts of a new machine type; what is frozen stays')
    .requiredOption('--machine <name>', 'machine type (repeatable)', collect)
    .option('--out <dir>', 'corpora folder to write to (default: the last --corpora, else the built-in one)')
    .action(async (options: FreezeOptions) => {
      const { freezeContracts } = await import('../freeze.js');
      freezeContracts(options);
    });
