/** `import libvirt`: reads a CPU map and reports where it and our definitions differ. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { compareWithLibvirt, type LibvirtComparison } from '../import/libvirt-compare.js';
import { readLibvirtMap } from '../import/libvirt-map.js';
import { ensureTree, type TreeSpec } from '../packages/package-tree.js';
import { shownOn } from './lab.js';
import { type CommonOptions, print, printJson } from './output.js';
import { definitionsOf } from './pairs.js';
import { progressLine } from './progress.js';

export interface ImportLibvirtOptions extends CommonOptions {
  readonly cpuMap?: string;
}

const MAP = '/usr/share/libvirt/cpu_map';
const PACKAGE: TreeSpec = {
  name: 'libvirt-cpu-map',
  suite: 'bookworm',
  also: [],
  packages: ['libvirt0'],
  dependencies: false,
};

export async function importLibvirt(options: ImportLibvirtOptions): Promise<void> {
  const folder = options.cpuMap ?? (existsSync(MAP) ? MAP : await fetchedMap());
  const comparison = compareWithLibvirt(readLibvirtMap(folder), definitionsOf(options.corpora));
  if (options.json) printJson('import-libvirt', { cpuMap: folder, ...comparison });
  else print(comparisonText(folder, comparison));
}

async function fetchedMap(): Promise<string> {
  const line = progressLine();
  try {
    const { root } = await ensureTree(PACKAGE, { onProgress: shownOn(line) });
    return join(root, MAP);
  } finally {
    line.end();
  }
}

function comparisonText(folder: string, found: LibvirtComparison): string {
  const side = (title: string, names: readonly string[]): string[] =>
    names.length ? [`    only ${title}: ${names.join(' ')}`] : [];
  return [
    `${folder}: ${found.agreeing.length} models agree, ${found.disagreeing.length} disagree`,
    ...found.disagreeing.flatMap(({ model, onlyLibvirt, onlyOurs }) => [
      `  ${model}`,
      ...side('libvirt', onlyLibvirt),
      ...side('ours', onlyOurs),
    ]),
    `agree: ${found.agreeing.join(' ')}`,
    `models only libvirt has: ${found.modelsOnlyLibvirt.join(' ') || 'none'}`,
    `models only we have: ${found.modelsOnlyOurs.join(' ') || 'none'}`,
    `features only libvirt names: ${found.featuresOnlyLibvirt.join(' ') || 'none'}`,
    `features only we name: ${found.featuresOnlyOurs.join(' ') || 'none'}`,
  ].join('\n');
}
