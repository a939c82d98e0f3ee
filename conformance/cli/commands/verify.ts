/** `guest-abi verify`: runs cells against contracts. */
import { Command } from 'commander';
import { InputError } from '../../../corpora/errors.js';
import { SCENARIOS, type Scenario } from '../../../corpora/verdict.js';
import { subjectOption, wholeNumber, withCommon, withHost, withPairs } from '../options.js';
import type { VerifyOptions } from '../verify.js';

export const verifyCommand = (): Command =>
  withHost(withPairs(withCommon(new Command('verify'))))
    .description('run pairs through scenarios on hosts and hold them to their contracts')
    .addOption(subjectOption())
    .option('--scenario <names>', `comma-separated, of ${SCENARIOS.join(', ')} (default all)`, scenarioList)
    .option('--jobs <n>', 'cells at a time', wholeNumber('--jobs', 1), 2)
    .option('--shard <i/n>', 'only the i-th of n parts of the cells', shardOf)
    .option('--list', 'list the cells and their predicted verdicts; run nothing')
    .option('--resume <log>', 'go on with a log; cells in it are not run again')
    .option('--against <log>', 'fail where a cell ends otherwise than in this log')
    .option(
      '--min-identical <n>',
      'holds only with at least so many identical cells',
      wholeNumber('--min-identical'),
      1,
    )
    .option('--log <file>', 'where the result log goes (default guest-abi-results/run.jsonl)')
    .action(async (options: VerifyOptions) => {
      const { verify } = await import('../verify.js');
      process.exitCode = await verify(options);
    });

function scenarioList(value: string): Scenario[] {
  const known: readonly string[] = SCENARIOS;
  return value.split(',').map((name) => {
    if (!known.includes(name))
      throw new InputError('unknown-scenario', `unknown scenario '${name}': ${SCENARIOS.join(', ')}`, { given: name });
    return name as Scenario;
  });
}

function shardOf(value: string): readonly [number, number] {
  const [, i, n] = /^(\d+)\/(\d+)$/.exec(value) ?? [];
  if (!i || !n || Number(i) < 1 || Number(i) > Number(n))
    throw new InputError('bad-shard', `--shard takes i/n with 1 <= i <= n, not '${value}'`, { given: value });
  return [Number(i), Number(n)];
}
