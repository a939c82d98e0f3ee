/** `guest-abi reproduce`: a bundle, run again. */
import { Command } from 'commander';
import { collect, withCommon } from '../options.js';
import type { ReproduceOptions } from '../reproduce.js';

export const reproduceCommand = (): Command =>
  withCommon(new Command('reproduce'))
    .description('run a bundle again: exit 1 same or different, 0 fixed, 3 cannot tell here')
    .argument('<bundle>', 'folder or tar that bundle wrote')
    .option(
      '--host <host>',
      'run it there, in the place of the hosts it was seen on (repeatable); default: as recorded',
      collect,
    )
    .option('--current', "today's definitions, not those of the bundle")
    .action(async (folder: string, options: ReproduceOptions) => {
      const { reproduce } = await import('../reproduce.js');
      process.exitCode = await reproduce(folder, options);
    });
