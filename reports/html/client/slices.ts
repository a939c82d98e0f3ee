/** Where and how pairs were run: a row per path of hosts, a column per scenario; choosing one narrows the map to it. */
import { h } from './dom.js';
import { type Model, pathName } from './model.js';
import { STATUSES, tally, weightOf } from './status.js';

/** What the map shows; null: all. */
export interface Slice {
  readonly path: number | null;
  readonly scenario: number | null;
}

export function slices(
  model: Model,
  cells: readonly number[],
  chosen: Slice,
  choose: (slice: Slice) => void,
): HTMLElement {
  const scenarios = model.scenarios.map((_, i) => i);
  const total = scenarios.length > 1;
  const button = (slice: Slice, text: string): HTMLElement => {
    const own = cells.filter((i) => isIn(model, i, slice));
    const pressed = slice.path === chosen.path && slice.scenario === chosen.scenario;
    if (own.length === 0) return h('td', { class: 'none' });
    const counts = tally(own.map((i) => model.statuses[i]!));
    const label = counts.map(({ status, count }) => `${count} ${status.label}`).join(', ');
    return h(
      'td',
      {},
      h(
        'button',
        {
          type: 'button',
          class: 'slice',
          'aria-pressed': String(pressed),
          'aria-label': `${text}: ${label}`,
          title: `${text}: ${label}`,
          click: () => choose(slice),
        },
        counts.map(({ status, count }) =>
          h('span', { class: `count s-${status.id}` }, `${status.glyph} ${count.toLocaleString('en')}`),
        ),
      ),
    );
  };
  const row = (path: number | null, name: string): HTMLElement =>
    h(
      'tr',
      {},
      h('th', { scope: 'row' }, path === null ? 'all' : name),
      total ? button({ path, scenario: null }, name) : null,
      scenarios.map((scenario) =>
        button({ path, scenario }, [path === null ? '' : name, model.scenarios[scenario]!].filter(Boolean).join(', ')),
      ),
    );
  return h(
    'table',
    { class: 'slices' },
    h('caption', {}, 'Hosts by scenario: choose what the map shows'),
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        h('td', {}),
        total ? h('th', { scope: 'col' }, 'all') : null,
        scenarios.map((i) => h('th', { scope: 'col' }, model.scenarios[i]!)),
      ),
    ),
    h(
      'tbody',
      {},
      model.paths.length > 1 ? row(null, 'everything') : null,
      inOrder(model).map((path) => row(path, pathName(model, path))),
    ),
  );
}

/** Where the worst was seen comes first; then one host before moves between several, each by name. */
function inOrder(model: Model): number[] {
  const weights = model.paths.map(() => STATUSES.length);
  model.cells.forEach(({ path }, i) => {
    weights[path] = Math.min(weights[path]!, weightOf(model.statuses[i]!));
  });
  const hops = (path: number): number => pathName(model, path).split(' > ').length;
  const byName = new Intl.Collator('en', { numeric: true });
  return model.paths
    .map((_, path) => path)
    .sort(
      (a, b) =>
        weights[a]! - weights[b]! || hops(a) - hops(b) || byName.compare(pathName(model, a), pathName(model, b)),
    );
}

export const isIn = ({ cells }: Model, i: number, { path, scenario }: Slice): boolean =>
  (path === null || cells[i]!.path === path) && (scenario === null || cells[i]!.scenario === scenario);
