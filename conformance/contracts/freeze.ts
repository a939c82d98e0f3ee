/** Writes contracts: the tables of a machine type's models, added to what is frozen already; never a changed one. */
import {
  CONTRACT_SHAPES,
  type ContractFile,
  type ContractShape,
  type Disagreement,
  emptyContract,
  type FrozenPair,
  freeze,
} from '../../corpora/contracts.js';
import { type CpuidRow, type CpuidTable, rowToJson } from '../../corpora/cpuid.js';
import { Definitions } from '../../corpora/definitions.js';
import { listModels, resolve, resolveCpu } from '../../reference-vmm/cpu-model/resolve.js';
import { type Confirmation, type EvidenceSource, evidenceFor } from './evidence.js';

/** The base model that a pair's contract is filed under. */
const fileOf = (version: string): string => version.replace(/-v\d+$/, '');

/** All pairs of a machine type, by the model whose contract file holds them. Empty where nothing is promised. */
export function pairsToFreeze(
  machine: string,
  definitions: Definitions,
  sources: readonly (EvidenceSource | Confirmation)[],
  wanted: (model: string) => boolean = () => true,
): Map<string, FrozenPair[]> {
  const files = new Map<string, FrozenPair[]>();
  if (definitions.machine(machine).follows) return files;
  for (const { name, version } of listModels(machine, definitions).filter((one) => wanted(one.name))) {
    const file = fileOf(version);
    files.set(file, [...(files.get(file) ?? []), frozenPair(machine, name, definitions, sources)]);
  }
  return files;
}

function frozenPair(
  machine: string,
  model: string,
  definitions: Definitions,
  sources: readonly (EvidenceSource | Confirmation)[],
): FrozenPair {
  const shapes = eachShape((smp) => resolve({ machine, cpu: model, smp, definitions }).vcpus);
  const evidence = eachShape((smp) => evidenceFor(shapes[smp][0]!.cpuid, machine, model, smp, sources));
  return { model, machine, shapes, evidence };
}

const eachShape = <T>(make: (shape: ContractShape) => T): Record<ContractShape, T> =>
  Object.fromEntries(CONTRACT_SHAPES.map((shape) => [shape, make(shape)])) as Record<ContractShape, T>;

/**
 * Contract files, by model, after freezing machine types, in the order given, onto those that exist. Throws `InputError` (`contract-exists`) where a frozen table would change.
 */
export function freezeMachines(
  machines: readonly string[],
  definitions: Definitions,
  sources: readonly (EvidenceSource | Confirmation)[],
  wanted?: (model: string) => boolean,
): Map<string, ContractFile> {
  const files = new Map<string, ContractFile>();
  for (const machine of machines) {
    for (const [model, pairs] of pairsToFreeze(machine, definitions, sources, wanted)) {
      const before =
        files.get(model) ?? (definitions.contracts(model) as ContractFile | undefined) ?? emptyContract(model);
      files.set(model, withDisagreements(freeze(before, pairs), pairs, definitions));
    }
  }
  return files;
}

function withDisagreements(file: ContractFile, pairs: readonly FrozenPair[], definitions: Definitions): ContractFile {
  const found = new Map(file.disagreements.map((one) => [disagreementKey(one.id, one.rows), one]));
  for (const { machine, model } of pairs) collectDisagreements(machine, model, definitions, found);
  return { ...file, disagreements: [...found.values()] };
}

const disagreementKey = (ids: string, rows: Disagreement['rows']): string => JSON.stringify([ids, rows]);

/** Where a later release shows the same pair otherwise: the rows that it has, under the deviation that explains them. */
function collectDisagreements(
  machine: string,
  model: string,
  definitions: Definitions,
  found: Map<string, Disagreement>,
): void {
  const contract = resolveCpu({ machine, cpu: model, definitions });
  const versionReleases = contract.model.versions.at(-1)!.releases;
  const others = contract.machine.definition.releases.filter(
    (release) => versionReleases.includes(release) && release !== contract.release,
  );
  const own = resolve({ machine, cpu: model, definitions }).vcpus[0]!.cpuid;
  for (const release of others) {
    const other = resolve({ machine, cpu: model, definitions, release }).vcpus[0]!.cpuid;
    const rows = otherRows(own, other).map(rowToJson);
    if (!rows.length) continue;
    const ids = causes(machine, model, contract.release!, release, definitions).join(', ');
    const key = disagreementKey(ids, rows);
    const known = found.get(key) ?? { id: ids, releases: [], pairs: {}, rows };
    found.set(key, {
      ...known,
      releases: [...new Set([...known.releases, release])],
      pairs: { ...known.pairs, [model]: [...new Set([...(known.pairs[model] ?? []), machine])] },
    });
  }
}

/** The deviations that alone change the pair's table between two releases. */
function causes(machine: string, model: string, release: string, other: string, definitions: Definitions): string[] {
  const tableWith = (known: Definitions): string =>
    JSON.stringify(resolve({ machine, cpu: model, definitions: known, release }).vcpus[0]!.cpuid);
  const own = tableWith(definitions);
  return definitions.deviations
    .filter(({ releases }) => releases.includes(release) !== releases.includes(other))
    .map(({ id }) => id)
    .filter((id) => tableWith(toggled(id, release, definitions)) !== own);
}

const toggledDefinitions = new Map<string, Definitions>();

/** Definitions in which a release has a deviation that it has not, or the other way round. */
function toggled(id: string, release: string, definitions: Definitions): Definitions {
  const key = `${id} ${release}`;
  const known = toggledDefinitions.get(key);
  if (known) return known;
  const changed = new Definitions();
  const toggle = (releases: readonly string[]): string[] =>
    releases.includes(release) ? releases.filter((one) => one !== release) : [...releases, release];
  const deviations = definitions.deviations.map((one) =>
    one.id === id ? { ...one, releases: toggle(one.releases) } : one,
  );
  changed.put('machine-types/deviations.json', { deviations });
  toggledDefinitions.set(key, changed);
  return changed;
}

const isZero = ({ eax, ebx, ecx, edx }: CpuidRow): boolean => !(eax || ebx || ecx || edx);

/** Rows that a guest of the other table sees otherwise; an absent row and one of zeros are the same to it. */
function otherRows(own: CpuidTable, other: CpuidTable): CpuidRow[] {
  return other.rows.filter((row) => {
    const mine = own.get(row.leaf, row.subleaf);
    return mine ? JSON.stringify(mine) !== JSON.stringify(row) : !isZero(row);
  });
}
