/** `gate`: does an edit, another release, a CPU map or a template change what guests of released pairs see? */
import { EXIT, type ExitCode, InputError } from '../../corpora/errors.js';
import { type CheckFormat, checkReporter } from '../../reports/reporters.js';
import { gateChecks } from '../gate/checks.js';
import { gateAgainstGit } from '../gate/gate-git.js';
import { concludeGate, type GateResult } from '../gate/result.js';
import { PACKAGE_VERSION } from '../version.js';
import { type GateTextOptions, gateText } from './gate-text.js';
import { globMatcher } from './options.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf } from './pairs.js';

export type GateFormat = 'text' | 'json' | CheckFormat;

export interface GateOptions extends CommonOptions {
  readonly base?: string;
  readonly head: string;
  readonly machine?: readonly string[];
  readonly cpu?: readonly string[];
  readonly host?: readonly string[];
  readonly fix?: boolean;
  readonly format: GateFormat;
}

const EXITS: Readonly<Record<ReturnType<typeof concludeGate>, ExitCode>> = {
  holds: EXIT.holds,
  broken: EXIT.broken,
  'nothing-compared': EXIT.cannot,
};

export async function gate(options: GateOptions): Promise<ExitCode> {
  const { result, patch, order } = await compare(options);
  const text = { verbose: options.verbose ?? false, order };
  if (options.fix && !options.json) fixed(result, patch, text);
  else await report(options, result, patch, text);
  return EXITS[concludeGate(result)];
}

interface Compared {
  readonly result: GateResult;
  readonly patch: string | null;
  readonly order: readonly string[];
}

async function compare(options: GateOptions): Promise<Compared> {
  const corpora = options.corpora ?? [];
  const order = definitionsOf(corpora).machineIndex.machines;
  if (options.head !== 'worktree') throw unknownSide('head', options.head);
  if (options.base !== undefined && /^(qemu|libvirt|firecracker):/.test(options.base))
    throw unknownSide('base', options.base);
  const { result, patch } = gateAgainstGit({
    ref: options.base?.replace(/^git:/, ''),
    corpora,
    wanted: pairFilter(options),
  });
  return { result, patch, order };
}

function unknownSide(side: 'base' | 'head', given: string): InputError {
  const forms = { base: 'git:REF, REF or qemu:BINARY', head: 'worktree, qemu:BINARY, libvirt:DIR or firecracker:FILE' };
  return new InputError(`unknown-${side}`, `--${side} ${given}: give ${forms[side]}`, { given });
}

/** Globs; a name that is none must be one of the definitions. */
function pairFilter({ machine, cpu }: GateOptions): (pair: { machine: string; model: string }) => boolean {
  const [machines, models] = [machine, cpu].map((globs) => globs?.map(globMatcher));
  return (pair) =>
    (machines?.some((matches) => matches(pair.machine)) ?? true) &&
    (models?.some((matches) => matches(pair.model)) ?? true);
}

/** The patch alone on stdout, for `git apply`; what it mends on stderr. */
function fixed(result: GateResult, patch: string | null, text: GateTextOptions): void {
  process.stderr.write(`${gateText(result, text)}\n`);
  if (patch) print(patch);
  else if (result.findings.length > 0) warn('there is no patch: no definition of the worktree is at fault');
}

async function report(
  { json, format, fix }: GateOptions,
  result: GateResult,
  patch: string | null,
  text: GateTextOptions,
): Promise<void> {
  if (json || format === 'json')
    printJson('gate', { conclusion: concludeGate(result), ...result, ...(fix ? { patch } : {}) });
  else if (format === 'text') print(gateText(result, text));
  else print((await checkReporter(format))(gateChecks(result, PACKAGE_VERSION, text.order)));
}
