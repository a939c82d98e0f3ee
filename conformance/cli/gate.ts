/** `gate`: does an edit, another release, a CPU map or a template change what guests of released pairs see? */
import { EXIT, type ExitCode } from '../../corpora/errors.js';
import { checkReporter } from '../../reports/reporters.js';
import { gateChecks } from '../gate/checks.js';
import { concludeGate } from '../gate/result.js';
import { PACKAGE_VERSION } from '../version.js';
import { type Gated, type GateOptions, gateSides } from './gate-sides.js';
import { gateText } from './gate-text.js';
import { print, printJson, warn } from './output.js';
import { definitionsOf } from './pairs.js';

const EXITS: Readonly<Record<ReturnType<typeof concludeGate>, ExitCode>> = {
  holds: EXIT.holds,
  broken: EXIT.broken,
  'nothing-compared': EXIT.cannot,
};

/** Compares, reports, gives the exit code. */
export async function gate(options: GateOptions): Promise<ExitCode> {
  const gated = await gateSides(options);
  await report(options, gated, definitionsOf(options.corpora).machineIndex.machines);
  return EXITS[concludeGate(gated.result, gated.boots)];
}

/** @param order all machine types, oldest first */
async function report(options: GateOptions, { result, patch, boots }: Gated, order: readonly string[]): Promise<void> {
  const { json, format, fix, verbose = false } = options;
  const text = (): string => gateText(result, { verbose, order, boots });
  if (json || format === 'json') {
    const more = { ...(boots ? { boots } : {}), ...(fix ? { patch } : {}) };
    printJson('gate', { conclusion: concludeGate(result, boots), ...result, ...more });
  } else if (fix) {
    // The patch alone on stdout, for `git apply`.
    process.stderr.write(`${text()}\n`);
    if (patch) print(patch);
    else if (result.findings.length > 0) warn('there is no patch: no definition of the worktree is at fault');
  } else if (format === 'text') print(text());
  else print((await checkReporter(format))(gateChecks(result, PACKAGE_VERSION, order, boots)));
}
