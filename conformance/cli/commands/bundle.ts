/** `guest-abi bundle`: a failing cell, or two dumps, as a folder for a bug report. */
import { Command } from 'commander';
import type { BundleOptions } from '../bundle.js';
import { collect, wholeNumber, withCommon } from '../options.js';

export const bundleCommand = (): Command =>
  withCommon(new Command('bundle'))
    .description('a folder with all that it takes to see a failure again: of a cell of a log, or of two dumps')
    .argument('<file...>', 'a result log, or two dumps of any formats')
    .option('--out <folder>', 'where it goes: a folder, or NAME.tar, NAME.tar.gz', 'guest-abi-bundle')
    .option('--pair <pair>', 'the cell of this pair')
    .option('--scenario <name>', 'the cell of this scenario')
    .option('--host <host>', 'the cell on this host, by its exact id (repeatable)', collect)
    .option('--seed <n>', 'seed of the property run that found it', wholeNumber('--seed'))
    .action(async (files: string[], options: BundleOptions) => {
      const { bundle } = await import('../bundle.js');
      process.exitCode = await bundle(files, options);
    });
