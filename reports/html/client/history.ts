/** A model's history: over the machine types, where its table changed, bit by bit. */
import { badge } from './cell-list.js';
import type { Vcpu } from './data.js';
import { cpuidTable, msrTable } from './differences.js';
import { h } from './dom.js';
import { cpuidDifferences, cpuidOf, type Model } from './model.js';
import { weightOf } from './status.js';

/** Neighbouring machine types with one table. */
interface Era {
  readonly machines: string[];
  readonly cells: number[];
  readonly vcpu: Vcpu;
}

export function historyPage(model: Model, cpu: string): HTMLElement {
  const eras = erasOf(model, cpu);
  return h(
    'article',
    { class: 'history' },
    h('h2', { tabindex: -1 }, `${cpu} over the machine types`),
    h(
      'p',
      {},
      eras.length === 0
        ? 'No cell of this log tells what it has to show.'
        : `${eras.length} ${eras.length === 1 ? 'table' : 'spans of one table'}, from the contracts of vCPU 0.`,
    ),
    h(
      'ol',
      { class: 'eras' },
      eras.map((era, i) => eraItem(model, era, eras[i - 1])),
    ),
  );
}

function erasOf(model: Model, cpu: string): Era[] {
  const at = model.cpus.indexOf(cpu);
  const cells = model.cells
    .map((cell, i) => ({ cell, i }))
    .filter(({ cell }) => cell.cpu === at && cell.life >= 0 && model.lives[cell.life]!.expected.length > 0)
    .sort((a, b) => a.cell.machine - b.cell.machine || a.cell.shape - b.cell.shape);
  const eras: Era[] = [];
  for (const { cell, i } of cells) {
    const machine = model.machines[cell.machine]!;
    const vcpu = model.lives[cell.life]!.expected[0]!;
    const era = eras.at(-1);
    if (era?.machines.at(-1) === machine) era.cells.push(i);
    else if (
      era &&
      isOneFamily(era.machines[0]!, machine) &&
      era.vcpu.cpuid === vcpu.cpuid &&
      era.vcpu.msrs === vcpu.msrs
    ) {
      era.machines.push(machine);
      era.cells.push(i);
    } else eras.push({ machines: [machine], cells: [i], vcpu });
  }
  return eras;
}

/** `pc-i440fx-2.3` and `pc-i440fx-11.1` are of one family. */
const isOneFamily = (a: string, b: string): boolean => familyOf(a) === familyOf(b);
const familyOf = (machine: string): string => machine.slice(0, machine.lastIndexOf('-'));

function eraItem(model: Model, { machines, cells, vcpu }: Era, before: Era | undefined): HTMLElement {
  const name = machines.length === 1 ? machines[0]! : `${machines[0]} to ${machines.at(-1)}`;
  const worstCell = cells.reduce((a, b) => (weightOf(model.statuses[a]!) <= weightOf(model.statuses[b]!) ? a : b));
  const sides = ['before', 'from here on'] as const;
  return h(
    'li',
    {},
    h('h3', {}, name, h('small', {}, machines.length > 1 ? ` ${machines.length} machine types` : '')),
    h(
      'p',
      {},
      badge(model, worstCell),
      ' ',
      h('a', { href: `#/cell/${worstCell}` }, cells.length === 1 ? 'its cell' : `the worst of ${cells.length} cells`),
    ),
    before && isOneFamily(before.machines[0]!, machines[0]!)
      ? changes(model, before.vcpu, vcpu, sides)
      : h('p', { class: 'muted' }, `the first table of ${familyOf(machines[0]!)}`),
  );
}

function changes(model: Model, before: Vcpu, after: Vcpu, sides: readonly [string, string]): HTMLElement {
  const found = cpuidDifferences(cpuidOf(model, before), cpuidOf(model, after));
  return h(
    'div',
    {},
    found.length > 0 ? cpuidTable(model, found, sides) : null,
    msrTable(model, before, after, sides, { all: false, absent: '#GP' }),
  );
}
