/** `guest-abi qualify`: everything that a new machine type must show before release. */
import { Command } from 'commander';
import { InputError } from '../../../corpora/errors.js';
import { collect, wholeNumber, withCommon } from '../options.js';
import type { QualifyOptions } from '../qualify.js';

export const qualifyCommand = (): Command =>
  withCommon(new Command('qualify'))
    .description('a checklist with evidence for a machine type before its release, signed off into a file')
    .option('--machine <name>', 'machine type')
    .option('--cpu <model>', 'only these models, globs allowed (repeatable)', collect)
    .option('--host <host>', 'host to run on (repeatable); recorded ones never qualify', collect)
    .option('--jobs <n>', 'cells at a time', wholeNumber('--jobs', 1), 2)
    .option(
      '--accept-not-run <model>',
      'models that need not be seen running, globs allowed (repeatable): the summary names them',
      collect,
    )
    .option('--log <file>', 'where results go as they come (default guest-abi-results/run-qualify.jsonl)')
    .option('--resume <log>', 'go on with a log; cells in it are not run again')
    .option('--out <file>', 'write the summary there')
    .option('--check <file>', 'is this summary what was signed off, and of these corpora?')
    .action(async (options: QualifyOptions) => {
      const { machine, check } = options;
      if ((machine === undefined) === (check === undefined))
        throw new InputError('usage', 'qualify takes --machine or --check, one of them');
      const { checkSummary, qualifyMachine } = await import('../qualify.js');
      process.exitCode =
        check === undefined ? await qualifyMachine({ ...options, machine: machine! }) : checkSummary(check, options);
    });
