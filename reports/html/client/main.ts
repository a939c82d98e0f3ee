/** The page's life: its data is unpacked, filters narrow the map and the list, and the address says which page is shown. */
import { cellList } from './cell-list.js';
import { cellPage } from './cell-page.js';
import type { ReportData } from './data.js';
import { byId, h } from './dom.js';
import { historyPage } from './history.js';
import { describe, matrix } from './matrix.js';
import { type Model, modelOf, pairOf } from './model.js';
import { isIn, type Slice, slices } from './slices.js';
import { STATUSES } from './status.js';

interface Filters {
  slice: Slice;
  /** Words that pair or finding must hold, all of them. */
  text: string;
  /** Statuses that are hidden. */
  readonly hidden: Set<string>;
}

async function unpack(): Promise<ReportData> {
  const packed = Uint8Array.from(atob(byId('data').textContent!.trim()), (char) => char.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return (await new Response(stream).json()) as ReportData;
}

/** Draws the overview, and again whenever a filter changes. */
function overview(model: Model): void {
  const filters: Filters = { slice: { path: null, scenario: null }, text: '', hidden: new Set() };
  const told = h('p', { class: 'told', 'aria-live': 'off' });
  const count = h('p', { class: 'matching', role: 'status' });
  const [where, map, list] = [h('div', { class: 'slices-scroll' }), h('div'), h('div')];
  const texts = model.cells.map((cell) =>
    `${pairOf(model, cell)} ${model.findings[cell.reasons]!.lines.join(' ')}`.toLowerCase(),
  );
  const draw = (): void => {
    const words = filters.text.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = model.cells
      .map((_, i) => i)
      .filter((i) => !filters.hidden.has(model.statuses[i]!.id) && words.every((word) => texts[i]!.includes(word)));
    const shown = matching.filter((i) => isIn(model, i, filters.slice));
    const pairs = new Set(shown.map((i) => pairOf(model, model.cells[i]!))).size;
    count.textContent = `${shown.length.toLocaleString('en')} of ${model.cells.length.toLocaleString('en')} cells, ${pairs.toLocaleString('en')} pairs: ${describe(shown.map((i) => model.statuses[i]!)) || 'nothing matches'}`;
    told.textContent = 'Point at a square, or walk with the arrow keys; Enter opens it.';
    // The search draws a moment after its last key: the keyboard may have gone on by then.
    const hasFocus = where.contains(document.activeElement);
    where.replaceChildren(
      slices(model, matching, filters.slice, (slice) => {
        filters.slice = slice;
        draw();
      }),
    );
    if (hasFocus) where.querySelector<HTMLElement>('[aria-pressed="true"]')?.focus({ preventScroll: true });
    map.replaceChildren(
      matrix(model, shown, (text) => {
        told.textContent = text;
      }),
    );
    list.replaceChildren(cellList(model, shown, 'Cells, worst first'));
  };
  byId('map').append(controls(model, filters, draw), where, count, told, map, list);
  draw();
}

function controls(model: Model, filters: Filters, draw: () => void): HTMLElement {
  const present = STATUSES.filter((status) => model.statuses.includes(status));
  let timer = 0;
  const search = h('input', {
    type: 'search',
    id: 'search',
    placeholder: 'pair, feature, register',
    input: (event) => {
      filters.text = (event.target as HTMLInputElement).value;
      clearTimeout(timer);
      timer = setTimeout(draw, 120);
    },
  });
  return h(
    'div',
    { class: 'controls' },
    h('label', { for: 'search' }, 'Search'),
    search,
    h(
      'div',
      { class: 'legend', role: 'group', 'aria-label': 'verdicts shown' },
      present.map(({ id, glyph, label }) =>
        h(
          'label',
          { class: `badge s-${id}` },
          h('input', {
            type: 'checkbox',
            checked: true,
            change: (event) => {
              if ((event.target as HTMLInputElement).checked) filters.hidden.delete(id);
              else filters.hidden.add(id);
              draw();
            },
          }),
          ` ${glyph} ${label}`,
        ),
      ),
    ),
  );
}

/** `#/cell/12`, `#/pair/3,7`, `#/model/Nehalem`; anything else is the overview. */
function pageAt(model: Model, hash: string): { readonly title: string; readonly page: HTMLElement } | null {
  const [, kind, rest = ''] = /^#\/(cell|pair|model)\/(.*)$/.exec(hash) ?? [];
  if (kind === 'cell' && model.cells[Number(rest)])
    return { title: pairOf(model, model.cells[Number(rest)]!), page: cellPage(model, Number(rest)) };
  if (kind === 'pair') {
    const own = model.cells
      .map((_, i) => i)
      .filter((i) => `${model.cells[i]!.machine},${model.cells[i]!.cpu}` === rest);
    if (own.length === 0) return null;
    const title = pairOf(model, model.cells[own[0]!]!);
    return {
      title,
      page: h('article', {}, h('h2', { tabindex: -1 }, title), cellList(model, own, 'Its cells, worst first')),
    };
  }
  const cpu = decodeURIComponent(rest);
  return kind === 'model' && model.cpus.includes(cpu) ? { title: cpu, page: historyPage(model, cpu) } : null;
}

function route(model: Model, name: string): void {
  const found = pageAt(model, location.hash);
  document.body.dataset.page = found ? 'detail' : 'overview';
  document.title = found ? `${found.title} · ${name}` : name;
  byId('detail').replaceChildren(
    ...(found ? [h('nav', {}, h('a', { href: '#/', class: 'back' }, '← All results')), found.page] : []),
  );
  if (!found) return;
  scrollTo(0, 0);
  byId('detail').querySelector<HTMLElement>('h2')?.focus({ preventScroll: true });
}

async function start(): Promise<void> {
  const model = modelOf(await unpack());
  const name = document.title;
  if (model.cells.length > 0) overview(model);
  else byId('map').append(h('p', {}, 'No cells were run.'));
  addEventListener('hashchange', () => route(model, name));
  route(model, name);
  document.body.dataset.ready = 'true';
}

start().catch((error: unknown) => {
  byId('map').append(
    h('p', { role: 'alert' }, `This page could not be drawn: ${String(error)}. It needs a browser of 2023 or later.`),
  );
});
