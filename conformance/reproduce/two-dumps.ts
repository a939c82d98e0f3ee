/** Two dumps of a user's machines: what differs between them, bundled with both, and read again later. */
import { code, table, text } from '../../reports/markdown.js';
import { compare } from '../formats/convert.js';
import { differenceLine } from '../formats/diff-text.js';
import type { Difference } from '../formats/difference.js';
import { libvirtNames, qemuNameOf } from '../formats/libvirt-names.js';
import { PACKAGE_VERSION } from '../version.js';
import { BUNDLE_SCHEMA, type BundleFiles, type DumpsBundle } from './bundle.js';
import type { Outcome } from './symptom.js';

export interface NamedText {
  readonly name: string;
  readonly text: string;
}

/** Most differences that a report lists; the dumps hold them all. */
const MOST = 60;

/** Throws `InputError` where a dump is of no known format. */
export function bundleDumps(
  a: NamedText,
  b: NamedText,
): { readonly bundle: Omit<DumpsBundle, 'files'>; readonly files: BundleFiles } {
  const lines = differencesOf(a.text, b.text);
  return {
    bundle: {
      ...{
        schema: BUNDLE_SCHEMA,
        kind: 'dumps',
        version: PACKAGE_VERSION,
        node: process.version,
        at: new Date().toISOString(),
      },
      names: [a.name, b.name],
    },
    files: {
      'dumps/a': a.text,
      'dumps/b': b.text,
      'differences.txt': lines.map((line) => `${line}\n`).join(''),
      'REPORT.md': dumpsReport(a, b),
    },
  };
}

const found = (a: string, b: string): readonly Difference[] =>
  compare({ text: a }, { text: b }, libvirtNames(), qemuNameOf).diff.differences;

const differencesOf = (a: string, b: string): string[] => found(a, b).map(differenceLine);

/** Reads both again: whether they still differ as they did. */
export function replayDumps(files: BundleFiles): { readonly outcome: Outcome; readonly lines: readonly string[] } {
  const lines = differencesOf(files['dumps/a'] ?? '', files['dumps/b'] ?? '');
  const before = (files['differences.txt'] ?? '').split('\n').filter(Boolean);
  if (lines.length === 0) return { outcome: 'fixed', lines };
  return { outcome: lines.join('\n') === before.join('\n') ? 'same' : 'different', lines };
}

function dumpsReport(a: NamedText, b: NamedText): string {
  const lines = differencesOf(a.text, b.text);
  const shown = lines.slice(0, MOST);
  return [
    `# ${text(a.name)} and ${text(b.name)} show different CPUs`,
    '',
    lines.length === 0
      ? `Nothing that both dumps tell differs: a guest that moves from ${code(a.name)} to ${code(b.name)} would see the same CPU.`
      : `A guest that moves from ${code(a.name)} to ${code(b.name)} sees another CPU: ${lines.length} ${lines.length === 1 ? 'thing differs' : 'things differ'}. Software that looked at its CPU before the move, and again after it, may use what is not there any more, or miss what is.`,
    '',
    ...(shown.length > 0 ? ['## What differs', '', ...shown.map((line) => `- ${text(line)}`), ''] : []),
    ...(lines.length > MOST ? [`and ${lines.length - MOST} more, in ${code('differences.txt')}`, ''] : []),
    '## Where',
    '',
    ...table(
      ['Dump', 'File'],
      [
        [text(a.name), code('dumps/a')],
        [text(b.name), code('dumps/b')],
      ],
    ),
    '## See it again',
    '',
    '    guest-abi reproduce .',
    '    guest-abi diff dumps/a dumps/b',
    '',
    `guest-abi ${text(PACKAGE_VERSION)}`,
    '',
  ].join('\n');
}
