/** `guest-abi machines`: the machine types that have definitions. */
import { Command } from 'commander';
import { withCommon } from '../options.js';
import { type CommonOptions, print, printJson } from '../output.js';

export const machinesCommand = (): Command =>
  withCommon(new Command('machines'))
    .description('machine types: names, aliases, releases')
    .action(async (options: CommonOptions) => {
      const { listMachines } = await import('../../../reference-vmm/cpu-model/resolve.js');
      const { definitionsOf } = await import('../pairs.js');
      const machines = listMachines(definitionsOf(options.corpora));
      if (options.json) printJson('machines', { machines });
      else print(machines.map(({ name, alias }) => (alias ? `${name} (${alias})` : name)).join('\n'));
    });
