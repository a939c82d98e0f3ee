/** The page of one cell: verdict, findings, steps, the dump beside the contract, and the command that runs it again. */
import { badge } from './cell-list.js';
import type { Cell, Finding, Life, Vcpu } from './data.js';
import { cpuidTable, msrTable } from './differences.js';
import { type Child, h } from './dom.js';
import {
  cpuidDifferences,
  cpuidOf,
  hex,
  type Model,
  pairOf,
  pathName,
  placeName,
  REGISTER_NAMES,
  replayOf,
} from './model.js';

export function cellPage(model: Model, i: number): HTMLElement {
  const cell = model.cells[i]!;
  const life = cell.life < 0 ? null : model.lives[cell.life]!;
  return h(
    'article',
    { class: 'cell' },
    h('h2', { tabindex: -1 }, pairOf(model, cell)),
    h(
      'p',
      { class: 'where' },
      badge(model, i),
      ` ${pathName(model, cell.path)}, ${model.scenarios[cell.scenario]}`,
      model.shapes[cell.shape] === '1' ? null : `, ${model.shapes[cell.shape]}`,
    ),
    facts(model, cell),
    findings(model, cell),
    replay(model, cell),
    life && life.steps.length > 0
      ? dumps(model, cell, life)
      : h('p', { class: 'muted' }, 'The guest never ran: there is no dump.'),
    life && life.steps.length === 0 ? contractOnly(model, life) : null,
  );
}

function facts(model: Model, cell: Cell): HTMLElement {
  const forced = model.forced[cell.forced]!;
  const entries: (readonly [string, Child])[] = [
    ['Predicted', cell.predicted],
    ['Evidence of the contract', model.evidences[cell.evidence]!],
    [
      'CPU model',
      h('a', { href: `#/model/${encodeURIComponent(model.cpus[cell.cpu]!)}` }, `history of ${model.cpus[cell.cpu]}`),
    ],
    ['Took', `${cell.ms} ms`],
    ...(forced.length > 0 ? [['Forced, though the host does not offer them', forced.join(' ')] as const] : []),
  ];
  return h(
    'dl',
    { class: 'facts' },
    entries.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );
}

function findings(model: Model, cell: Cell): Child {
  const { lines, each } = model.findings[cell.reasons]!;
  if (lines.length === 0) return null;
  const ids = [...new Set(each.flatMap(({ requirement }) => requirement ?? []))];
  return [
    h('h3', {}, 'Findings'),
    h(
      'ul',
      { class: 'findings' },
      lines.map((line) => h('li', {}, line)),
    ),
    ids.length > 0
      ? h(
          'dl',
          { class: 'requirements' },
          ids.map((id) => h('div', {}, h('dt', {}, id), h('dd', {}, model.requirements[id] ?? ''))),
        )
      : null,
  ];
}

function replay(model: Model, cell: Cell): Child {
  const command = replayOf(model, cell);
  return [
    h('h3', {}, 'Run it again'),
    h(
      'p',
      { class: 'command' },
      h('code', {}, command),
      h(
        'button',
        { type: 'button', class: 'copy', click: (event) => void copy(command, event.currentTarget as HTMLElement) },
        'Copy',
      ),
    ),
  ];
}

async function copy(text: string, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    // A page from a file may not write to the clipboard: the text can be marked by hand.
    button.textContent = 'Not allowed';
  }
}

/** Which step's dump is shown, and how much of it. */
function dumps(model: Model, cell: Cell, life: Life): HTMLElement {
  const section = h('section', { class: 'dumps' });
  let step = life.steps.length - 1;
  let vcpu = 0;
  let all = false;
  const draw = (): void => {
    const choice = (name: string, pressed: boolean, choose: () => void): HTMLElement =>
      h(
        'button',
        {
          type: 'button',
          'aria-pressed': String(pressed),
          click: () => {
            choose();
            draw();
          },
        },
        name,
      );
    const { vcpus } = life.steps[step]!;
    section.replaceChildren(
      h('h3', {}, 'Steps and dumps'),
      h(
        'ol',
        { class: 'steps' },
        life.steps.map(({ step: name }, at) =>
          h(
            'li',
            {},
            choice(name, at === step, () => {
              step = at;
            }),
          ),
        ),
        endOf(model, cell, life),
      ),
      vcpus.length > 1
        ? h(
            'div',
            { class: 'choices', role: 'group', 'aria-label': 'vCPU' },
            vcpus.map(({ index }, at) =>
              choice(`vCPU ${index}`, at === vcpu, () => {
                vcpu = at;
              }),
            ),
          )
        : '',
      h(
        'div',
        { class: 'choices', role: 'group', 'aria-label': 'how much' },
        choice('differences', !all, () => {
          all = false;
        }),
        choice('the whole dump', all, () => {
          all = true;
        }),
      ),
      ...dump(model, cell, life, step, Math.min(vcpu, vcpus.length - 1), all),
    );
  };
  draw();
  return section;
}

/** A life that was ended by a step that gave no dump. */
function endOf(model: Model, cell: Cell, { steps }: Life): Child {
  const last = model.findings[cell.reasons]!.each.map(({ step }) => step).find(
    (name) => !steps.some(({ step }) => step === name),
  );
  return last === undefined ? null : h('li', { class: 'ended' }, `${last}: ${cell.verdict}`);
}

function dump(model: Model, cell: Cell, life: Life, step: number, vcpu: number, all: boolean): HTMLElement[] {
  const seen = life.steps[step]!.vcpus[vcpu]!;
  const expected = life.expected.find(({ index }) => index === seen.index);
  if (!expected) return [h('p', {}, 'The contract has no such vCPU.')];
  const sides = ['contract', 'guest'] as const;
  const { each } = model.findings[cell.reasons]!;
  const named = each.filter(
    (one) =>
      (one.vcpu === null || one.vcpu === seen.index) &&
      (one.step === life.steps[step]!.step || cell.verdict === 'altered'),
  );
  const [contract, guest] = [cpuidOf(model, expected), cpuidOf(model, seen)];
  // A guest asks for more than its contract has; rows that the contract has not are told by the findings.
  const comparable = new Map(
    [...guest].filter(([place]) => contract.has(place) || named.some((one) => one.place === place)),
  );
  const differences = cpuidDifferences(contract, comparable);
  const msrs = msrTable(model, expected, seen, sides, { all, absent: 'not read' });
  return [
    h('h4', {}, 'CPUID'),
    differences.length > 0
      ? cpuidTable(model, differences, sides, (one) => markOf(named, one.place, one.register))
      : h('p', { class: 'muted' }, 'Every row of the contract is what the guest saw.'),
    ...(all
      ? [
          h('h4', {}, `CPUID as seen: ${guest.size} rows`),
          rowsTable([...guest.values()].map(({ place, values }) => [placeName(place), ...values.map(hex)])),
        ]
      : []),
    h('h4', {}, 'MSRs'),
    msrs ?? h('p', { class: 'muted' }, 'Every MSR of the contract is what the guest read.'),
    h('h4', {}, 'Registers'),
    registers(seen),
  ];
}

/** A difference that no finding names follows other state, as it must: the oracle recomputed it. */
function markOf(named: readonly Finding[], place: string, register: number | null): string {
  const own = named.filter(
    (one) => one.place === place && (one.register === null || register === null || one.register === register),
  );
  return own[0]?.code ?? 'follows other state, as it must';
}

const rowsTable = (rows: readonly (readonly string[])[]): HTMLElement =>
  h(
    'div',
    { class: 'scroll' },
    h(
      'table',
      { class: 'diff' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ['CPUID', ...REGISTER_NAMES].map((name) => h('th', { scope: 'col' }, name)),
        ),
      ),
      h(
        'tbody',
        {},
        rows.map(([place, ...values]) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row' }, place!),
            values.map((value) => h('td', { class: 'value' }, value)),
          ),
        ),
      ),
    ),
  );

const registers = ({ registers: own, apicId }: Vcpu): HTMLElement =>
  h(
    'dl',
    { class: 'facts registers' },
    [['APIC id', `${apicId}`] as const, ...own].map(([name, value]) =>
      h('div', {}, h('dt', {}, name), h('dd', {}, value)),
    ),
  );

function contractOnly(model: Model, { expected }: Life): HTMLElement {
  const rows = [...cpuidOf(model, expected[0]!).values()].map(({ place, values }) => [
    placeName(place),
    ...values.map(hex),
  ]);
  return h('details', {}, h('summary', {}, 'The contract'), rowsTable(rows));
}
