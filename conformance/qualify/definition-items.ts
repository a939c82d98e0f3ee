/** Items that follow from definitions, contracts and captures: nothing is booted for them. */
import { CONTRACT_SHAPES, contractOf } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { msrContractOf, msrEffectsOf } from '../../corpora/msr-contracts.js';
import { DEFINITIONS } from '../../reference-vmm/cpu-model/differences.js';
import { lacksOf } from '../../reference-vmm/cpu-model/enforce.js';
import { listModels, realModels, resolveCpu } from '../../reference-vmm/cpu-model/resolve.js';
import { reasonLines } from '../../reports/reasons.js';
import { tableDifferences } from '../gate/differences.js';
import type { ResolvedPair, ResolvedPairs } from '../gate/resolved.js';
import type { NamedHost } from '../hosts/questions/named-host.js';
import { brokenMsrs } from '../run/expectation.js';
import { type ChecklistItem, item } from './checklist.js';

/** What is qualified. */
export interface Subject {
  readonly machine: string;
  /** Models asked for, by name. */
  readonly models: readonly string[];
  readonly definitions: Definitions;
  readonly resolved: ResolvedPairs;
}

function pairOf({ machine, definitions, resolved }: Subject, model: string): ResolvedPair {
  const pair = resolved.of({ machine, model }, definitions);
  if (pair instanceof InputError) throw pair;
  return pair;
}

/** One model for each CPU that the models show: names that stand for others show theirs. Real names come before those. */
export function distinctModels(subject: Subject): string[] {
  const real = new Set(realModels(subject.machine, subject.definitions));
  const realFirst = [...subject.models].sort((a, b) => Number(real.has(b)) - Number(real.has(a)));
  const byCpu = new Map<string, string>();
  for (const model of realFirst) {
    const { tables, identities } = pairOf(subject, model);
    const cpu = JSON.stringify([tables, identities[CONTRACT_SHAPES[0]].msrs], bigintAsText);
    if (!byCpu.has(cpu)) byCpu.set(cpu, model);
  }
  return [...byCpu.values()];
}

const bigintAsText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? `${value}` : value);

/** Contracts complete, frozen, and what the definitions resolve to. */
export function contractsItem(subject: Subject, predecessor: string | null): ChecklistItem {
  const { machine, models, definitions } = subject;
  const problems = lostModels(subject, predecessor);
  let [tables, proven] = [0, 0];
  for (const model of models) {
    for (const smp of CONTRACT_SHAPES) {
      const contract = contractOf(`${machine}/${model}`, smp, definitions);
      if (!contract) {
        problems.push(`${model} (smp ${smp}) has no contract: guest-abi freeze --machine ${machine}`);
        continue;
      }
      tables++;
      if (contract.evidence !== 'resolved-only') proven++;
      const now = { [smp]: pairOf(subject, model).tables[smp] };
      const differences = tableDifferences({ [smp]: contract.vcpus }, now, DEFINITIONS);
      if (differences.length > 0) problems.push(`${model} (smp ${smp}): ${reasonLines(differences)[0]}`);
    }
    problems.push(...msrProblems(subject, model));
  }
  const evidence = `${tables} tables of ${models.length} models in shapes ${CONTRACT_SHAPES.join(', ')} are frozen and resolve to what is frozen; real software gave ${proven} of them`;
  return item(
    'contracts',
    'Contracts are complete and frozen, and the definitions resolve to them',
    [evidence],
    problems,
  );
}

/** A model that the predecessor promises is promised on. */
function lostModels({ machine, models, definitions }: Subject, predecessor: string | null): string[] {
  if (predecessor === null) return [];
  return listModels(machine, definitions)
    .map(({ name }) => name)
    .filter((name) => !models.includes(name) && isFrozen(predecessor, name) && !isFrozen(machine, name))
    .map((name) => `${name} has a contract on ${predecessor} and none here`);

  function isFrozen(on: string, model: string): boolean {
    return contractOf(`${on}/${model}`, CONTRACT_SHAPES[0], definitions) !== undefined;
  }
}

/** The MSRs of a pair are of its contract as its tables are. */
function msrProblems(subject: Subject, model: string): string[] {
  const { machine, definitions } = subject;
  const pair = `${machine}/${model}`;
  if (!msrContractOf(pair, definitions) || !msrEffectsOf(pair, definitions))
    return [`${model} has no frozen MSRs: guest-abi freeze --machine ${machine}`];
  const [first] = brokenMsrs({ ...pairOf(subject, model).identities[CONTRACT_SHAPES[0]], pair }, definitions);
  return first ? [`${model}: ${first.message}`] : [];
}

/** Every unversioned name means one version for ever. */
export function namesItem({ machine, models, definitions }: Subject): ChecklistItem {
  const { defaultVersion, follows } = definitions.machine(machine);
  const unversioned = listModels(machine, definitions).filter(
    ({ name }) => models.includes(name) && !/-v\d+$/.test(name),
  );
  const open = unversioned.filter(({ aliasOf, version }) => aliasOf === null && version !== 'base');
  const problems = [
    ...(follows ? [`${machine} follows the newest machine type: nothing of it is pinned`] : []),
    ...(defaultVersion === 'latest' ? ['unversioned names mean the latest version, which moves on'] : []),
    ...(defaultVersion === 'legacy' ? [] : open.map(({ name }) => `${name} stands for no version`)),
  ];
  const evidence = `${unversioned.length} unversioned names, each of one version (default version ${defaultVersion})`;
  return item('names', 'No unversioned name is left unpinned', [evidence], problems);
}

/** A feature that the CPU has and a supported kernel does not offer keeps guests off that kernel. */
export function kernelsItem(
  subject: Subject,
  predecessor: string | null,
  kernels: readonly NamedHost[],
): ChecklistItem {
  const { machine, definitions } = subject;
  const lacking = (on: string, model: string): string[] => {
    const { cpu, expansion } = resolveCpu({ machine: on, cpu: model, definitions });
    return kernels.flatMap(({ id, host }) =>
      lacksOf(cpu, expansion.withoutNeeds, host)
        .reasons.filter(({ layer, feature }) => layer === 'kernel' && feature !== null)
        .map(({ feature }) => `${feature} on ${id}`),
    );
  };
  const known = new Set(predecessor === null ? [] : listModels(predecessor, definitions).map(({ name }) => name));
  const added = new Map<string, string[]>();
  const old = new Map<string, string[]>();
  for (const model of distinctModels(subject)) {
    const before = new Set(known.has(model) ? lacking(predecessor!, model) : []);
    for (const one of lacking(machine, model)) {
      const list = before.has(one) ? old : added;
      list.set(one, [...(list.get(one) ?? []), model]);
    }
  }
  const evidence = [
    `${kernels.length} captured kernels: ${kernels.map(({ id }) => id.replace('recorded:', '')).join(', ')}`,
    ...[...old].map(
      ([what, models]) =>
        `as before: ${what} (${models.length > 1 ? `${models.length} models, such as ` : ''}${models[0]})`,
    ),
  ];
  const problems = [...added].map(
    ([what, models]) => `${what} is not offered by the kernel though the CPU has it: ${models.join(' ')}`,
  );
  return item(
    'kernels',
    'No feature is asked for that a supported kernel lacks on a CPU that has it',
    evidence,
    problems,
  );
}
