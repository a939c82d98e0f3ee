/** Each difference to the machine type before is explained by the compat entries of that one, each by what it alone does. */
import type { CompatProperty, Definitions, MachineTypeDefinition } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { DEFINITIONS } from '../../reference-vmm/cpu-model/differences.js';
import { chooseMachine } from '../../reference-vmm/cpu-model/machine.js';
import { listModels } from '../../reference-vmm/cpu-model/resolve.js';
import { counted, reasonLines } from '../../reports/reasons.js';
import { compatLine, withMachines } from '../gate/compat-fix.js';
import { tableDifferences } from '../gate/differences.js';
import type { ShapeTables } from '../gate/resolved.js';
import { type ChecklistItem, item } from './checklist.js';
import type { Subject } from './definition-items.js';

/** Passes where putting the entries back gives every model its former CPU. */
export function predecessorItem(subject: Subject, predecessor: string | null): ChecklistItem {
  const title = `Each difference to ${predecessor ?? 'a predecessor'} is a deliberate compat entry`;
  if (predecessor === null) return item('predecessor', title, ['it is the oldest of its board'], []);
  const { machine, definitions } = subject;
  const step = stepBetween(predecessor, machine, definitions);
  const known = new Set(listModels(predecessor, definitions).map(({ name }) => name));
  const common = subject.models.filter((name) => known.has(name));
  const changed = common.flatMap((model) => {
    const [old, now] = [tablesOf(predecessor, model, subject), tablesOf(machine, model, subject)];
    const differences = tableDifferences(old, now, DEFINITIONS);
    return differences.length > 0 ? [{ model, old, now, differences }] : [];
  });
  const back = withEntries(step, step.entries, definitions);
  const problems = changed.flatMap(({ model, old }) => {
    const left = tableDifferences(old, tablesOf(machine, model, { ...subject, definitions: back }), DEFINITIONS);
    return left.length > 0 && !step.renamed ? [`${model}: ${inWords(left)}, and no compat entry says so`] : [];
  });
  const fresh = subject.models.filter((name) => !known.has(name));
  const evidence = [
    `${common.length - changed.length} of ${common.length} common models show the same CPU as on ${predecessor}`,
    ...(step.renamed ? [step.renamed] : []),
    ...step.entries.flatMap((entry) => effectOf(entry, step, subject, changed)),
    ...(fresh.length > 0 ? [`${counted(fresh.length, 'model')} new: ${fresh.join(' ')}`] : []),
  ];
  return item('predecessor', title, evidence, problems);
}

/** What lies between two machine types. */
interface Step {
  /** The newer one without entries that only it has. */
  readonly ground: MachineTypeDefinition;
  /** Those of the older one that the newer has not, in the order of application. */
  readonly entries: readonly CompatProperty[];
  /** Where unversioned names mean other versions. */
  readonly renamed: string | null;
}

function stepBetween(from: string, to: string, definitions: Definitions): Step {
  const [older, newer] = [from, to].map((name) => chooseMachine(definitions, name).chain) as [
    readonly MachineTypeDefinition[],
    readonly MachineTypeDefinition[],
  ];
  const own = definitions.machine(to);
  const [before, after] = [definitions.machine(from).defaultVersion, own.defaultVersion];
  const defaults = Object.assign({}, ...older.filter((one) => !newer.includes(one)).map((one) => one.kvmDefaults));
  return {
    ground: { ...own, compat: older.includes(own) ? own.compat : [], kvmDefaults: { ...own.kvmDefaults, ...defaults } },
    entries: older.filter((one) => !newer.includes(one)).flatMap(({ compat }) => compat),
    renamed:
      before === after ? null : `default version ${before} on ${from}, ${after} on ${to}: unversioned names follow it`,
  };
}

const withEntries = ({ ground }: Step, entries: readonly CompatProperty[], definitions: Definitions): Definitions =>
  withMachines(definitions, new Map([[ground.name, { ...ground, compat: [...ground.compat, ...entries] }]]));

function tablesOf(machine: string, model: string, { definitions, resolved }: Omit<Subject, 'machine'>): ShapeTables {
  const pair = resolved.of({ machine, model }, definitions);
  if (pair instanceof InputError) throw pair;
  return pair.tables;
}

/** What one entry alone does to the models that changed; none where it does nothing to them. */
function effectOf(
  entry: CompatProperty,
  step: Step,
  subject: Subject,
  changed: readonly { readonly model: string; readonly now: ShapeTables }[],
): string[] {
  const alone = { ...subject, definitions: withEntries(step, [entry], subject.definitions) };
  const affected = changed.flatMap(({ model, now }) => {
    const differences = tableDifferences(tablesOf(subject.machine, model, alone), now, DEFINITIONS);
    return differences.length > 0 ? [{ model, differences }] : [];
  });
  const [first] = affected;
  if (!first) return [];
  return [
    `${compatLine(entry)}: ${affected.length > 1 ? `${affected.length} models, such as ` : ''}${first.model}: ${inWords(first.differences)}`,
  ];
}

/** `CPUID 1.EDX[1] (vme): was 0, is 1 (and 2 more)` */
function inWords(differences: Parameters<typeof reasonLines>[0]): string {
  const lines = reasonLines(differences.filter(({ code }) => !code.includes('-row-')));
  const [first = reasonLines(differences)[0]!, ...more] = lines;
  const words = first.replace('contract ', 'was ').replace('definition shows ', 'is ');
  return `${words}${more.length > 0 ? ` (and ${more.length} more)` : ''}`;
}
