/** `guest-abi start`: the main job on the best host that this machine has; what `npm start` runs. */
import { Command } from 'commander';
import { withCommon } from '../options.js';
import type { StartOptions } from '../start.js';

export const startCommand = (): Command =>
  withCommon(new Command('start'))
    .option('--offline', 'load nothing; use the lab only if it is in the cache')
    .description('the main job on the best host of this machine: a few pairs through every scenario')
    .action(async (options: StartOptions) => {
      const { start } = await import('../start.js');
      process.exitCode = await start(options);
    });
