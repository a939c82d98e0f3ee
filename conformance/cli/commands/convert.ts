/** `guest-abi convert`: a CPU dump, template or description in another format. */
import { Command } from 'commander';
import { FORMAT_NAMES } from '../../formats/format-names.js';
import { withCommon } from '../options.js';
import { type CommonOptions, print, printJson, warn } from '../output.js';

interface ConvertOptions extends CommonOptions {
  readonly from?: string;
  readonly to: string;
}

export const convertCommand = (): Command =>
  withCommon(new Command('convert'))
    .description('a CPU dump, template or description in another format; what is lost is said on stderr')
    .argument('<file>', 'file to read, - for stdin')
    .option('--from <format>', 'format of the file (default: recognized)')
    .requiredOption('--to <format>', `one of ${FORMAT_NAMES.join(', ')}`)
    .action(async (file: string, options: ConvertOptions) => {
      const [{ readInputText }, { convert }, { libvirtNames }] = await Promise.all([
        import('../input-text.js'),
        import('../../formats/convert.js'),
        import('../../formats/libvirt-names.js'),
      ]);
      const { to, from } = options;
      const converted = convert(
        { text: readInputText(file), ...(from === undefined ? {} : { from }) },
        to,
        libvirtNames(),
      );
      if (options.json) {
        const output = to === 'json' ? { dump: JSON.parse(converted.text) as object } : { text: converted.text };
        printJson('convert', { from: converted.from, to, losses: converted.losses, ...output });
        return;
      }
      for (const loss of converted.losses) warn(`${to}: ${loss}`);
      print(converted.text);
    });
