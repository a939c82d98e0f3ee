/** `guest-abi freeze`: contracts of a new machine type. */
import { Command } from 'commander';
import type { FreezeOptions } from '../freeze.js';
import { collect, wholeNumber, withCommon } from '../options.js';

export const freezeCommand = (): Command =>
  withCommon(new Command('freeze'))
    .description('write contracts of a new machine type; what is frozen stays')
    .requiredOption('--machine <name>', 'machine type (repeatable)', collect)
    .option(
      '--cpu <model>',
      'only these models, globs allowed (repeatable): what is not frozen is not promised',
      collect,
    )
    .option(
      '--from <qemu>',
      'qemu:BINARY or qemu-11.1: boot every pair under it first (globs in --machine go over its machine types)',
    )
    .option('--jobs <n>', 'with --from: boots at a time (default 2)', wholeNumber('--jobs', 1))
    .option('--out <dir>', 'corpora folder to write to (default: the last --corpora, else the built-in one)')
    .action(async (options: FreezeOptions) => {
      const { freezeContracts } = await import('../freeze.js');
      await freezeContracts(options);
    });
