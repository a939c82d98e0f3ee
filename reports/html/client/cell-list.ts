/** Cells as a list, worst first: what the map shows, for those who read rather than look. */
import { type Child, h } from './dom.js';
import { type Model, pairOf, pathName } from './model.js';
import { weightOf } from './status.js';

const PAGE = 25;

export function cellList(model: Model, cells: readonly number[], caption: string): HTMLElement {
  const sorted = [...cells].sort((a, b) => weightOf(model.statuses[a]!) - weightOf(model.statuses[b]!) || a - b);
  const body = h('tbody');
  const more = h('button', { type: 'button', class: 'more', click: () => show() });
  let shown = 0;
  const show = (): void => {
    for (const i of sorted.slice(shown, shown + PAGE)) body.append(line(model, i));
    shown = Math.min(sorted.length, shown + PAGE);
    more.hidden = shown === sorted.length;
    more.textContent = `Show ${Math.min(PAGE, sorted.length - shown)} more of ${(sorted.length - shown).toLocaleString('en')}`;
  };
  show();
  return h(
    'div',
    { class: 'list' },
    h(
      'table',
      { class: 'cells' },
      h('caption', {}, caption),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ['Verdict', 'Pair', 'Where', 'Scenario', 'First finding'].map((name) => h('th', { scope: 'col' }, name)),
        ),
      ),
      body,
    ),
    more,
  );
}

function line(model: Model, i: number): HTMLElement {
  const cell = model.cells[i]!;
  const shape = model.shapes[cell.shape]!;
  const { lines } = model.findings[cell.reasons]!;
  const rest = lines.length > 1 ? ` (and ${lines.length - 1} more)` : '';
  return h(
    'tr',
    {},
    h('td', {}, badge(model, i)),
    h('td', {}, h('a', { href: `#/cell/${i}` }, pairOf(model, cell)), shape === '1' ? null : ` ${shape}`),
    h('td', {}, pathName(model, cell.path)),
    h('td', {}, model.scenarios[cell.scenario]!),
    h('td', { class: 'finding' }, lines.length > 0 ? `${lines[0]}${rest}` : ''),
  );
}

/** Glyph and word on the verdict's colour. */
export function badge({ statuses }: Model, i: number): Child {
  const { id, glyph, label } = statuses[i]!;
  return h('span', { class: `badge s-${id}` }, h('span', { 'aria-hidden': 'true' }, `${glyph} `), label);
}
