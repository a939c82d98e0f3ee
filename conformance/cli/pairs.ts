/** From `--machine`, `--cpu`, `--pair` and `--smp` to pairs, with globs over names. */
import { statSync } from 'node:fs';
import { Definitions } from '../../corpora/definitions.js';
import { InputError, unknownName } from '../../corpora/errors.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { formatCpu, parseCpu, parsePair } from '../../corpora/pair.js';
import { formatSmp, parseSmp } from '../../corpora/smp.js';
import { isHostModel } from '../../reference-vmm/cpu-model/host-model.js';
import { chooseMachine } from '../../reference-vmm/cpu-model/machine.js';
import { listMachines, listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type { Host } from '../hosts/host.js';
import type { CellPair } from '../run/cell.js';
import { globMatcher, isGlob } from './options.js';

export interface PairOptions {
  readonly machine?: readonly string[];
  readonly cpu?: readonly string[];
  readonly pair?: readonly string[];
  readonly smp?: readonly string[];
}

/** A pair as the user named it. */
export interface PairRequest {
  readonly machine: string;
  /** Model with properties, as in `-cpu`. */
  readonly cpu: string;
  readonly smp: string;
}

/** The definitions of `--corpora` folders over the built-in ones. Throws `InputError` for a folder that is not there. */
export function definitionsOf(corpora: readonly string[] = []): Definitions {
  const missing = corpora.find((folder) => statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true);
  if (missing) throw new InputError('no-such-folder', `--corpora ${missing}: no such folder`, { given: missing });
  return new Definitions(corpora);
}

/** All pairs that the options name, each SMP shape of each, each once whatever names and globs it matches. Throws `InputError` where a name or glob matches nothing. */
export function selectPairs(options: PairOptions, definitions: Definitions): PairRequest[] {
  const named = (options.pair ?? []).map(parsePair).map(({ machine, cpu }) => ({ machine, cpu: formatCpu(cpu) }));
  const crossed = (options.machine ?? (options.cpu ? ['*'] : []))
    .flatMap((machine) => expandMachine(machine, definitions))
    .flatMap((machine) =>
      (options.cpu ?? ['*']).flatMap((cpu) => expandCpu(machine, cpu, definitions)).map((cpu) => ({ machine, cpu })),
    );
  if (crossed.length === 0 && (options.machine || options.cpu))
    throw new InputError('no-pairs', `no pair matches --machine ${list(options.machine)} --cpu ${list(options.cpu)}`);
  const all = [...named, ...crossed].flatMap((pair) =>
    shapesOn(pair.machine, options.smp ?? ['1'], definitions).map((smp) => ({ ...pair, smp })),
  );
  return [...new Map(all.map((one) => [`${one.machine}/${one.cpu} ${one.smp}`, one])).values()];
}

/** In the form that leaves nothing open: `4` is four sockets on machine types before 6.2, four cores since. */
function shapesOn(machine: string, shapes: readonly string[], definitions: Definitions): string[] {
  const { prefersSockets = false } = chooseMachine(definitions, machine).board;
  return shapes.map((shape) => formatSmp(parseSmp(shape, !prefersSockets)));
}

const list = (values: readonly string[] | undefined): string => values?.join(' ') ?? '*';

const givenPairs = ({ pair = [], machine = [], cpu = [] }: PairOptions): string =>
  [...pair, ...machine, ...cpu].join(' ');

/** `selectPairs`, for a command to which pairs must be named. Throws `InputError` where none is. */
export function somePairs(options: PairOptions, definitions: Definitions): PairRequest[] {
  if (!options.pair && !(options.machine && options.cpu))
    throw new InputError('no-pair', 'name a pair: --machine M --cpu C, or --pair M/C', { given: givenPairs(options) });
  return selectPairs(options, definitions);
}

/** The one pair that the options name. Throws `InputError` where they name none or several. */
export function onePair(options: PairOptions, definitions: Definitions): PairRequest {
  const [pair, ...others] = somePairs(options, definitions);
  const given = givenPairs(options);
  if (others.length > 0)
    throw new InputError('many-pairs', `this command takes one pair, '${given}' names ${others.length + 1}`, { given });
  return pair!;
}

/** `host`: for a pair that follows it. Throws `InputError` as `resolve` does. */
export const resolvePair = (
  { machine, cpu, smp }: PairRequest,
  definitions: Definitions,
  host?: HostCapabilities,
): CpuIdentity => resolve({ machine, cpu, smp: parseSmp(smp), definitions, ...(host === undefined ? {} : { host }) });

/** True where the identity is a function of the host: models `host`, `max`, `best`, and `host-phys-bits`. */
export function followsHost({ cpu }: PairRequest): boolean {
  const { model, options } = parseCpu(cpu);
  return isHostModel(model) || options.some(({ name }) => name.replaceAll('_', '-') === 'host-phys-bits');
}

/** Each pair once, or where it follows its host once for each host. Pairs that follow none are resolved before `hosts` is asked. */
export function pairsOn(
  requests: readonly PairRequest[],
  definitions: Definitions,
): (hosts: readonly Host[]) => CellPair[] {
  const fixed = new Map(
    requests.filter((one) => !followsHost(one)).map((one) => [one, resolvePair(one, definitions)] as const),
  );
  return (hosts) =>
    requests.flatMap((request): CellPair[] => {
      const { smp } = request;
      const identity = fixed.get(request);
      if (identity) return [{ identity, smp }];
      return hosts.map((host) => ({
        ...{ identity: resolvePair(request, definitions, host.capabilities), smp, madeOn: host },
      }));
    });
}

function expandMachine(machine: string, definitions: Definitions): string[] {
  if (!isGlob(machine)) return [machine];
  const names = listMachines(definitions).map(({ name }) => name);
  const matching = names.filter(globMatcher(machine));
  if (matching.length === 0) throw unknownName('machine type', machine, names);
  return matching;
}

function expandCpu(machine: string, cpu: string, definitions: Definitions): string[] {
  const [name = '', ...properties] = cpu.split(',');
  if (!isGlob(name)) return [cpu];
  return listModels(machine, definitions)
    .map((model) => model.name)
    .filter(globMatcher(name))
    .map((model) => [model, ...properties].join(','));
}
