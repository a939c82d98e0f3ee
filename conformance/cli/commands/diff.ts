/** `guest-abi diff`: two CPU dumps, templates or descriptions of any formats, bit by bit. */
import { Command } from 'commander';
import { EXIT, MachineError } from '../../../corpora/errors.js';
import { withCommon } from '../options.js';
import { type CommonOptions, print, printJson, warn } from '../output.js';

export const diffCommand = (): Command =>
  withCommon(new Command('diff'))
    .description('two CPU dumps, templates or descriptions of any formats, bit by bit; exit 0 same, 1 different')
    .argument('<a>', 'file to read, - for stdin')
    .argument('<b>', 'file to read')
    .action(async (a: string, b: string, options: CommonOptions) => {
      const [{ readInputText }, { compare }, { libvirtNames, qemuNameOf }, { differenceLine, diffToJson }] =
        await Promise.all([
          import('../input-text.js'),
          import('../../formats/convert.js'),
          import('../../formats/libvirt-names.js'),
          import('../../formats/diff-text.js'),
        ]);
      const { diff, losses } = compare(
        { text: readInputText(a) },
        { text: readInputText(b) },
        libvirtNames(),
        qemuNameOf,
      );
      if (diff.compared === 0)
        throw new MachineError('nothing-compared', `nothing compared: ${a} and ${b} say nothing of the same thing`);
      if (options.json) printJson('diff', { a, b, losses, ...diffToJson(diff) });
      else {
        for (const loss of losses) warn(loss);
        const { differences, compared, open } = diff;
        const summary = `${differences.length} difference${differences.length === 1 ? '' : 's'}; ${compared} bits and names compared, ${open} open on one side`;
        print([...differences.map(differenceLine), summary].join('\n'));
      }
      process.exitCode = diff.differences.length ? EXIT.broken : EXIT.holds;
    });
