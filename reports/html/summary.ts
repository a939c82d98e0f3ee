/** The page's first part, which needs no script: does the contract hold, where not, and on what it was run. */
import { type CellResult, expectedWord, isUnexpected } from '../../corpora/verdict.js';
import { groupBy } from '../checks.js';
import { counted, findingLines } from '../reasons.js';
import { conclude, isBreak, type LoggedCell, type ResultLog } from '../result-log.js';
import { conclusionLine, incompleteText } from '../text.js';
import { escapeHtml } from './client/escape.js';
import { STATUSES } from './client/status.js';
import { inOrderOfRelease } from './release-order.js';
import { statusId } from './status-id.js';

const HEADLINE = {
  holds: { mark: '=', text: 'The contract holds' },
  broken: { mark: '≠', text: 'The contract is broken' },
  'nothing-verified': { mark: '?', text: 'Nothing was verified' },
  incomplete: { mark: '?', text: 'The run is not complete' },
} as const;

export const headlineOf = (log: ResultLog): string => HEADLINE[conclude(log)].text;

/** `minIdentical`: as `verify` was asked. */
export function summary(log: ResultLog, minIdentical?: number): string {
  const conclusion = conclude(log, minIdentical);
  const { mark, text } = HEADLINE[conclusion];
  const counts = conclusionLine(log, minIdentical).replace(/^[^:]*: /, '');
  return `<header class="${conclusion}">
<p class="run">guest-abi ${escapeHtml(log.version)}${log.startedAt ? `, run of <time>${escapeHtml(log.startedAt.replace('T', ' ').replace(/\.\d+Z$/, ' UTC'))}</time>` : ''}</p>
<h1><span class="mark" aria-hidden="true">${mark}</span> ${text}</h1>
<p class="counts">${escapeHtml(counts)}</p>
${log.complete ? '' : `<p class="cut"><strong>${escapeHtml(incompleteText(log))}</strong></p>\n`}${bar(log.cells)}
</header>
${breaks(log.cells)}${hosts(log)}`;
}

/** Share of each status, worst first, for the eye; the counts stand above it. */
function bar(cells: readonly LoggedCell[]): string {
  const counts = groupBy(cells, statusId);
  const parts = STATUSES.flatMap(({ id, label }) => {
    const many = counts.get(id)?.length;
    return many ? [`<span class="s-${id}" style="flex-grow:${many}" title="${many} ${label}"></span>`] : [];
  });
  return `<div class="bar" aria-hidden="true">${parts.join('')}</div>`;
}

/** Cells whose guests met the same stand together, whatever was predicted of each, so that one cause is one entry. */
function breaks(cells: readonly LoggedCell[]): string {
  const broken = cells.map((cell, at) => ({ cell, at })).filter(({ cell }) => isBreak(cell));
  if (broken.length === 0) return '';
  const causes = [...groupBy(broken, ({ cell }) => JSON.stringify([cell.verdict, findingLines(cell.reasons)]))];
  const shown = causes.slice(0, MOST_CAUSES).map(([, own]) => cause(own));
  const rest = causes.length - shown.length;
  return `<section id="breaks" aria-labelledby="breaks-title">
<h2 id="breaks-title">What broke</h2>
<ol class="causes">
${shown.join('\n')}
</ol>${rest > 0 ? `\n<p>and ${rest} more causes: in the list below</p>` : ''}
</section>
`;
}

const MOST_CAUSES = 40;
const MOST_LINES = 6;
const MOST_PATHS = 4;

function cause(own: readonly { readonly cell: LoggedCell; readonly at: number }[]): string {
  const { cell, at } = own[0]!;
  const cells = own.map((one) => one.cell);
  const lines = findingLines(cell.reasons);
  const more = lines.length - MOST_LINES;
  const word = statusId(cell);
  const note = [word === 'unexpected' ? cell.verdict : '', predictions(cells)].filter(Boolean).join(', ');
  return `<li><p><span class="badge s-${word}">${word}</span> <strong>${escapeHtml(affected(cells))}</strong>${note && ` <span class="muted">${note}</span>`}</p>
<ul class="findings">${lines
    .slice(0, MOST_LINES)
    .map((line) => `<li>${escapeHtml(line)}</li>`)
    .join('')}${more > 0 ? `<li>and ${more} more</li>` : ''}</ul>
<p class="muted">${escapeHtml(places(cells))} · <a href="#/cell/${at}">${own.length === 1 ? 'the cell' : `the first of ${own.length} cells`}</a></p></li>`;
}

/** `predicted identical`, or where it was not the same of all: `predicted identical (28 cells), refused (2 cells)`. */
function predictions(cells: readonly CellResult[]): string {
  const unexpected = cells.filter(isUnexpected);
  const words = [...groupBy(unexpected, expectedWord)];
  if (words.length === 0) return '';
  if (words.length === 1 && unexpected.length === cells.length) return `predicted ${words[0]![0]}`;
  return `predicted ${words.map(([word, those]) => `${word} (${counted(those.length, 'cell')})`).join(', ')}`;
}

/** `coreduo, n270: 38 machine types, pc-i440fx-1.4 to pc-q35-10.0` */
function affected(cells: readonly CellResult[]): string {
  const split = cells.map(({ pair }) => [pair.slice(0, pair.indexOf('/')), pair.slice(pair.indexOf('/') + 1)] as const);
  const models = [...new Set(split.map(([, model]) => model))];
  const machines = [...new Set(split.map(([machine]) => machine))].sort(inOrderOfRelease);
  const named =
    models.length > 8 ? `${models.slice(0, 8).join(', ')} and ${models.length - 8} more models` : models.join(', ');
  if (machines.length === 1) return `${named} on ${machines[0]}`;
  return `${named} on ${machines.length} machine types, ${machines[0]} to ${machines.at(-1)}`;
}

/** Where it was seen: `boot: qemu-10.0 on tcg; migrate: qemu-5.2 > qemu-10.0 on tcg > tcg and 3 more paths`. */
function places(cells: readonly CellResult[]): string {
  return [...groupBy(cells, ({ scenario }) => scenario)]
    .map(([scenario, those]) => {
      const paths = [...new Set(those.map(pathOf))];
      const rest = paths.length - MOST_PATHS;
      return `${scenario}: ${paths.slice(0, MOST_PATHS).join(', ')}${rest > 0 ? ` and ${counted(rest, 'more path')}` : ''}`;
    })
    .join('; ');
}

const pathOf = ({ subject, hosts: path }: CellResult): string =>
  `${subject === 'reference-vmm' ? '' : `${subject} on `}${path.join(' > ')}`;

function hosts({ hosts: all }: ResultLog): string {
  const rows = all.map(({ id, kernel, module, cpu, note }) => {
    return `<tr><th scope="row">${escapeHtml(id)}</th><td>${escapeHtml(`${kernel} ${module}`)}</td><td>${escapeHtml(cpu)}</td><td>${escapeHtml(note)}</td></tr>`;
  });
  return `<section id="hosts" aria-labelledby="hosts-title">
<h2 id="hosts-title">Hosts</h2>
<div class="scroll"><table class="hosts"><thead><tr><th scope="col">Host</th><th scope="col">Kernel</th><th scope="col">CPU</th><th scope="col">State</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>
</section>`;
}
