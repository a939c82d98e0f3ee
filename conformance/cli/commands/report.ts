/** `guest-abi report`: reports made from result logs. */
import { Command } from 'commander';
import { LOG_FORMATS, type LogFormat } from '../../../reports/reporters.js';
import { formatOption, withCommon } from '../options.js';
import type { CommonOptions } from '../output.js';
import type { ReportCommandOptions } from '../report.js';

export const reportCommand = (): Command =>
  withCommon(new Command('report'))
    .enablePositionalOptions()
    .description('a report of result logs that verify wrote; several are merged')
    .addOption(formatOption(LOG_FORMATS))
    .option('--out <file>', 'write the report there')
    .argument('[log...]', 'result logs (JSON lines)')
    .action(async (files: string[], options: ReportCommandOptions & { format: LogFormat }) => {
      const { report } = await import('../report.js');
      process.exitCode = await report(files, options);
    })
    .addCommand(
      withCommon(new Command('merge'))
        .description('one log of the logs of all shards')
        .argument('<log...>')
        .requiredOption('--out <file>', 'where the merged log goes')
        .action(async (files: string[], options: CommonOptions & { out: string }) => {
          const { merge } = await import('../report.js');
          process.exitCode = merge(files, options);
        }),
    )
    .addCommand(
      withCommon(new Command('compare'))
        .description('what two logs say otherwise of the same cells; exit code 1 where they do')
        .argument('<before>')
        .argument('<after>')
        .action(async (before: string, after: string, options: CommonOptions) => {
          const { compare } = await import('../report.js');
          process.exitCode = compare(before, after, options);
        }),
    );
