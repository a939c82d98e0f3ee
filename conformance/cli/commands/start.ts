/** `guest-abi start`: the main job on the best host that this machine has; what `npm start` runs. */
import { Command } from 'commander';
import { withCommon } from '../options.js';
import type { CommonOptions } from '../output.js';

export const startCommand = (): Command =>
  withCommon(new Command('start'))
    .description('the main job on the best host of this machine: a few pairs through every scenario')
    .action(async (options: CommonOptions) => {
      const { start } = await import('../start.js');
      process.exitCode = await start(options);
    });
