/** `guest-abi models`: the CPU models of a machine type, with the version that each name stands for. */
import { Command } from 'commander';
import { withCommon } from '../options.js';
import { type CommonOptions, print, printJson } from '../output.js';

export const modelsCommand = (): Command =>
  withCommon(new Command('models'))
    .description('CPU models: names, versions, aliases, notes, deprecated')
    .option('--machine <name>', 'as this machine type has them', 'pc-next')
    .action(async (options: CommonOptions & { machine: string }) => {
      const { listModels } = await import('../../../reference-vmm/cpu-model/resolve.js');
      const { definitionsOf } = await import('../pairs.js');
      const models = listModels(options.machine, definitionsOf(options.corpora));
      if (options.json) printJson('models', { machine: options.machine, models });
      else
        print(
          models
            .map(({ name, version, deprecated, note }) =>
              [name, version !== name && `= ${version}`, note && `[${note}]`, deprecated && 'deprecated']
                .filter(Boolean)
                .join('  '),
            )
            .join('\n'),
        );
    });
