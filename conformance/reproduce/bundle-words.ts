/** What happened to a bundle's cell in words, for people who know nothing of guest-abi. */
import { type Layer, REFUSED_OTHERWISE, type Reason, type Scenario, type Verdict } from '../../corpora/verdict.js';
import { code, text } from '../../reports/markdown.js';
import { reasonLines } from '../../reports/reasons.js';
import type { CellBundle } from './bundle.js';

type Cell = CellBundle['cell'];

const LIFE: Readonly<Record<Scenario, string>> = {
  boot: 'was booted',
  reset: 'was reset',
  'cold-start': 'was started again in a new process',
  'snapshot-restore': 'was saved and restored',
  'live-snapshot': 'was saved while it ran, and restored',
  migrate: 'was migrated',
};

const HAPPENED: Readonly<Record<Verdict, string>> = {
  identical: 'saw its contract',
  refused: 'was refused',
  changed: 'saw another CPU than its contract promises',
  dropped: 'lost state that had been accepted',
  altered: 'saw a CPU that the kernel had altered',
  crashed: 'crashed',
  hung: 'did not answer any more',
  skipped: 'was not run',
};

const EXPECTED: Readonly<Record<Verdict, string>> = {
  identical: 'the CPU exactly as its contract has it',
  refused: 'a refusal',
  changed: 'another CPU after the move',
  dropped: 'a loss',
  altered: 'the CPU with those changes only that this kernel is known to make',
  crashed: 'a crash',
  hung: 'no answer',
  skipped: 'no run',
};

/** Why it matters. */
const MATTERS: Partial<Readonly<Record<Verdict, string>>> = {
  changed:
    'Software in the guest that looked at its CPU before will find another one now: this breaks live migration, snapshots and licences bound to the CPU.',
  dropped:
    'The guest goes on and does not know that a part of its own state is gone: what relies on it fails later, where nobody looks for the cause.',
  altered:
    'It ran because altered CPUs were allowed here, to look at them; by default it would have been refused. On a kernel that does not alter it a guest of the same name sees another CPU.',
};

const BLAME: Readonly<Record<Layer, string>> = {
  'host-cpu': 'the host CPU',
  kernel: "the host's kernel",
  monitor: 'the hypervisor or its definitions',
  guest: 'the guest itself',
  harness: 'the connection to the host',
};

const neverRan = ({ reasons }: Cell): boolean => reasons.length > 0 && reasons.every(({ step }) => step === 'resolve');

/** The prediction's own words stand in it, not what the host did. */
export const isOtherRefusal = ({ code: kind }: Reason): boolean => kind === REFUSED_OTHERWISE;

/** `aes: the guest saw another CPU than its contract promises` where features can be named. */
export function headline(cell: Cell): string {
  if (neverRan(cell)) return 'the definitions changed a released CPU';
  const own = cell.reasons.filter((one) => !isOtherRefusal(one));
  const named = [...new Set(own.flatMap(({ feature, msr }) => feature ?? (msr === null ? [] : `MSR ${msr}`)))];
  const what = `the guest ${HAPPENED[cell.verdict]}`;
  return named.length === 0 || named.length > 3 ? what : `${text(named.join(', '))}: ${what}`;
}

export function explanation(cell: Cell): string {
  const { verdict } = cell;
  if (neverRan(cell))
    return [
      `CPU ${code(cell.pair)} does not resolve to its frozen contract any more: a guest that has run with it would now see another CPU.`,
      ...whatWasFound(cell),
    ].join(' ');
  return [
    `A guest with CPU ${code(cell.pair)} ${LIFE[cell.scenario]} ${where(cell)}, and ${HAPPENED[verdict]}${verdict === 'refused' ? ': the monitor would not let it run' : ''}.`,
    ...expected(cell),
    ...whatWasFound(cell),
    ...(MATTERS[verdict] === undefined ? [] : [MATTERS[verdict]]),
  ].join(' ');
}

function where({ hosts, scenario }: Cell): string {
  const path = [...new Set(hosts)].map(code);
  if (path.length > 1) return `from ${path.join(' to ')}`;
  return scenario === 'migrate' ? `between two processes on ${path[0]}` : `on ${path[0]}`;
}

/** What was to be expected where something else came. */
function expected({ verdict, predicted, reasons }: Cell): string[] {
  const other = reasons.find(isOtherRefusal);
  if (other)
    return [
      `Expected was a refusal for another reason: ${text(other.message.slice(other.message.indexOf(': ') + 2))}.`,
    ];
  return verdict === predicted ? [] : [`Expected, from what is known of the host, was ${EXPECTED[predicted]}.`];
}

function whatWasFound({ verdict, reasons }: Cell): string[] {
  const own = reasons.filter((one) => !isOtherRefusal(one));
  const lines = reasonLines(own);
  const layers = [...new Set(own.flatMap(({ layer }) => layer ?? []))].map((layer) => BLAME[layer]);
  if (verdict === 'crashed' || verdict === 'hung')
    return own.slice(0, 1).map(({ step }) => `It was at step ${code(step)}; where it stood is told below.`);
  return [
    ...(lines.length > 0
      ? [`What differs: ${text(lines.slice(0, 3).join('; '))}${lines.length > 3 ? '; and more, below' : ''}.`]
      : []),
    ...(layers.length > 0 ? [`It is ${layers.join(' and ')} that makes the difference.`] : []),
  ];
}
