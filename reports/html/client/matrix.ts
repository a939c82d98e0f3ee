/** The heat map: a row per CPU model, a column per machine type, a square per pair that shows its worst cell; walked with the arrow keys. */
import { h } from './dom.js';
import { escapeHtml } from './escape.js';
import { type Model, pairOf } from './model.js';
import { type Status, tally, worst } from './status.js';

/** The cells of one square, as indices. */
type Squares = ReadonlyMap<string, readonly number[]>;

/** What a square means, shown while the pointer or the focus is on it. */
type Tell = (text: string) => void;

export function matrix(model: Model, cells: readonly number[], tell: Tell): HTMLElement {
  const squares = squaresOf(model, cells);
  const machines = distinct(cells.map((i) => model.cells[i]!.machine));
  const cpus = distinct(cells.map((i) => model.cells[i]!.cpu));
  const table = h('table', { class: 'matrix', role: 'grid', 'aria-label': 'pairs: CPU models by machine types' });
  // One string: thousands of elements made one by one would be felt.
  table.innerHTML = `<thead>${heads(model, machines)}</thead><tbody>${cpus
    .map((cpu) => row(model, cpu, machines, squares))
    .join('')}</tbody>`;
  table.querySelector('td[data-at]')?.setAttribute('tabindex', '0');
  listen(table, model, squares, tell);
  return h('div', { class: 'matrix-scroll', tabindex: -1 }, table);
}

function squaresOf({ cells }: Model, chosen: readonly number[]): Squares {
  const squares = new Map<string, number[]>();
  for (const i of chosen) {
    const key = `${cells[i]!.machine},${cells[i]!.cpu}`;
    const square = squares.get(key);
    if (square) square.push(i);
    else squares.set(key, [i]);
  }
  return squares;
}

const distinct = (values: readonly number[]): number[] => [...new Set(values)].sort((a, b) => a - b);

/** `pc-i440fx-2.3`: the family once over its columns, releases below. */
function heads({ machines }: Model, shown: readonly number[]): string {
  const names = shown.map((machine) => splitName(machines[machine]!));
  const families = names.flatMap(({ family }, i) =>
    i > 0 && names[i - 1]!.family === family ? [] : [{ family, from: i }],
  );
  const spans = families.map(({ family, from }, i) => ({
    family,
    span: (families[i + 1]?.from ?? names.length) - from,
  }));
  return `<tr><td rowspan="2"></td>${spans
    .map(({ family, span }) => `<th colspan="${span}" scope="colgroup"><span>${escapeHtml(family)}</span></th>`)
    .join('')}</tr><tr>${names
    .map(
      ({ release }, i) =>
        `<th scope="col"${isFirst(names, i) ? ' class="first"' : ''}><span>${escapeHtml(release)}</span></th>`,
    )
    .join('')}</tr>`;
}

const splitName = (name: string): { family: string; release: string } => {
  const [, family = name, release = name] = /^(.*)-([^-]+)$/.exec(name) ?? [];
  return { family, release };
};

const isFirst = (names: readonly { family: string }[], i: number): boolean =>
  i > 0 && names[i - 1]!.family !== names[i]!.family;

function row(model: Model, cpu: number, machines: readonly number[], squares: Squares): string {
  const names = machines.map((machine) => splitName(model.machines[machine]!));
  const name = escapeHtml(model.cpus[cpu]!);
  const own = machines.map((machine, i) => {
    const square = squares.get(`${machine},${cpu}`);
    const first = isFirst(names, i) ? ' first' : '';
    if (!square) return `<td class="none${first}"></td>`;
    const { id, glyph } = worst(square.map((at) => model.statuses[at]!));
    return `<td class="s-${id}${first}" data-at="${machine},${cpu}" tabindex="-1">${glyph}</td>`;
  });
  return `<tr><th scope="row"><a href="#/model/${encodeURIComponent(model.cpus[cpu]!)}">${name}</a></th>${own.join('')}</tr>`;
}

function listen(table: HTMLElement, model: Model, squares: Squares, tell: Tell): void {
  const squareAt = (event: Event): HTMLElement | null => (event.target as HTMLElement).closest('td[data-at]');
  const about = (square: HTMLElement): string => {
    const own = squares.get(square.dataset.at!)!;
    return `${pairOf(model, model.cells[own[0]!]!)}: ${describe(own.map((i) => model.statuses[i]!))}`;
  };
  const show = (event: Event): void => {
    const square = squareAt(event);
    if (!square) return;
    const text = about(square);
    square.setAttribute('aria-label', text);
    square.title = text;
    tell(text);
  };
  const open = (square: HTMLElement): void => {
    const own = squares.get(square.dataset.at!)!;
    location.hash = own.length === 1 ? `#/cell/${own[0]}` : `#/pair/${square.dataset.at}`;
  };
  table.addEventListener('mouseover', show);
  table.addEventListener('focusin', show);
  table.addEventListener('click', (event) => {
    const square = squareAt(event);
    if (square) open(square);
  });
  table.addEventListener('keydown', (event) => {
    const square = squareAt(event);
    if (!square) return;
    if (event.key === 'Enter' || event.key === ' ') open(square);
    else if (!walk(table, square, event)) return;
    event.preventDefault();
  });
}

const STEPS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** Focus goes to the next square in a direction, over places without a pair; Home and End to the ends of the row. */
function walk(table: HTMLElement, from: HTMLElement, { key }: KeyboardEvent): boolean {
  const rows = [...table.querySelectorAll<HTMLTableRowElement>('tbody tr')];
  let y = rows.indexOf(from.closest('tr')!);
  let x = (from as HTMLTableCellElement).cellIndex;
  if (key === 'Home' || key === 'End') {
    const own = [...rows[y]!.querySelectorAll<HTMLElement>('td[data-at]')];
    moveFocus(from, key === 'Home' ? own[0]! : own.at(-1)!);
    return true;
  }
  const step = STEPS[key];
  if (!step) return false;
  for (;;) {
    x += step[0];
    y += step[1];
    const square = rows[y]?.cells[x];
    if (!square) return true;
    if (square.dataset.at) {
      moveFocus(from, square);
      return true;
    }
  }
}

function moveFocus(from: HTMLElement, to: HTMLElement): void {
  from.setAttribute('tabindex', '-1');
  to.setAttribute('tabindex', '0');
  to.focus();
}

/** `identical`, or `3 changed, 12 identical`. */
export function describe(statuses: readonly Status[]): string {
  const counts = tally(statuses);
  if (counts.length === 1 && counts[0]!.count === 1) return counts[0]!.status.label;
  return counts.map(({ status, count }) => `${count} ${status.label}`).join(', ');
}
