/** Where and how pairs were run: a row per path of hosts, a column per scenario; choosing one narrows the map to it. */
import { h } from './dom.js';
import { type Model, pathName } from './model.js';
import { tally } from './status.js';

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
  return h(
    'div',
    { class: 'slices-scroll' },
    h(
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
          scenarios.map((i) => h('th', { scope: 'col' }, model.scenarios[i]!)),
          total ? h('th', { scope: 'col' }, 'all') : null,
        ),
      ),
      h(
        'tbody',
        {},
        model.paths.map((_, path) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row' }, pathName(model, path)),
            scenarios.map((scenario) =>
              button({ path, scenario }, `${pathName(model, path)}, ${model.scenarios[scenario]}`),
            ),
            total ? button({ path, scenario: null }, pathName(model, path)) : null,
          ),
        ),
        model.paths.length > 1
          ? h(
              'tr',
              {},
              h('th', { scope: 'row' }, 'all'),
              scenarios.map((scenario) => button({ path: null, scenario }, model.scenarios[scenario]!)),
              total ? button({ path: null, scenario: null }, 'everything') : null,
            )
          : null,
      ),
    ),
  );
}

export const isIn = ({ cells }: Model, i: number, { path, scenario }: Slice): boolean =>
  (path === null || cells[i]!.path === path) && (scenario === null || cells[i]!.scenario === scenario);
