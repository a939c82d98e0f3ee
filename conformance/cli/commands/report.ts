/** `guest-abi report`: reports made from result logs. */
import { readFileSync } from 'node:fs';
import { Argument, Command } from 'commander';
import { EXIT, InputError } from '../../../corpora/errors.js';
import { formatOption, withCommon } from '../options.js';
import { type CommonOptions, print } from '../output.js';

const CONCLUSION_EXIT = { holds: EXIT.holds, broken: EXIT.broken, 'nothing-verified': EXIT.cannot } as const;

export const reportCommand = (): Command =>
  withCommon(new Command('report'))
    .description('a report of a result log')
    .addOption(formatOption(['text', 'json']))
    .addArgument(new Argument('<log>', 'result log (JSON lines) that verify wrote'))
    .action(async (file: string, options: CommonOptions & { format: 'text' | 'json' }) => {
      const { conclude, parseLog } = await import('../../../reports/result-log.js');
      const log = parseLog(readText(file), file);
      if (options.json || options.format === 'json') {
        const { jsonReport } = await import('../../../reports/json.js');
        print(JSON.stringify(jsonReport(log), null, 1));
      } else {
        const { textReport } = await import('../../../reports/text.js');
        print(textReport(log, { color: process.stdout.isTTY, verbose: options.verbose ?? false }));
      }
      process.exitCode = CONCLUSION_EXIT[conclude(log.cells)];
    });

/** Throws `InputError` `unreadable-file`. */
function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new InputError('unreadable-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      given: file,
    });
  }
}
