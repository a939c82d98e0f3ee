/** `import qemu`: from a running QEMU to definition files, and what was found on the way. */
import { mkdirSync } from 'node:fs';
import { InputError } from '../../corpora/errors.js';
import { packageFile } from '../../corpora/package-root.js';
import { askRelease } from '../import/ask-release.js';
import { importRelease } from '../import/import-release.js';
import { writeChanged } from '../import/write-definitions.js';
import { qemuBinary, qemuTree } from '../packages/qemu-trees.js';
import { type CommonOptions, print, printJson } from './output.js';
import { definitionsOf } from './pairs.js';
import { progressLine } from './progress.js';

export interface ImportQemuOptions extends CommonOptions {
  readonly binary?: string;
  readonly release?: string;
  readonly out?: string;
  readonly jobs?: number;
}

/** Where definitions are written: `--out`, else the last `--corpora` folder, else the package's own. */
export function outFolder({ out, corpora = [] }: { out?: string; corpora?: readonly string[] }): string {
  const folder = out ?? corpora.at(-1) ?? packageFile('corpora');
  mkdirSync(folder, { recursive: true });
  return folder;
}

export async function importQemu(options: ImportQemuOptions): Promise<void> {
  if ((options.binary === undefined) === (options.release === undefined))
    throw new InputError('usage', 'import qemu takes --binary or --release, one of them');
  const definitions = definitionsOf(options.corpora);
  const out = outFolder(options);
  const launcher = options.binary ? await qemuBinary(options.binary) : await qemuTree(options.release!);
  const line = progressLine();
  const release = await askRelease(launcher, {
    ...(options.jobs === undefined ? {} : { workers: options.jobs }),
    onProgress: ({ step, done, total }) => line.update(`${step}: ${done} of ${total}`),
  });
  line.end();
  const { files, unexplained, needless, withoutCaches } = importRelease(definitions, release);
  const written = writeChanged(files, [packageFile('corpora'), ...(options.corpora ?? [])], out);
  const report = {
    release: release.name,
    qemu: launcher.version,
    out,
    ...written,
    unexplained,
    needless,
    withoutCaches,
  };
  if (options.json) printJson('import', report);
  else print(importText(report));
}

type Report = { release: string; qemu: string; out: string } & ReturnType<typeof writeChanged> &
  Omit<ReturnType<typeof importRelease>, 'files'>;

function importText({ qemu, out, added, changed, same, unexplained, needless, withoutCaches }: Report): string {
  const lines = [
    `QEMU ${qemu}: ${added.length} definitions added, ${changed.length} changed, ${same} as they were`,
    ...added.map((path) => `  new      ${path}`),
    ...changed.map((path) => `  changed  ${path}`),
    ...(added.length + changed.length ? [`written to ${out}`] : []),
    ...unexplained.flatMap(({ releases, properties }) =>
      properties.map(
        ({ type, property, value }) =>
          `not explained: QEMU ${releases.join(', ')} has ${type}.${property} = ${value} where a later release has not; ` +
          'give the commit in machine-types/deviations.json',
      ),
    ),
    ...needless.map((id) => `needless: '${id}' in machine-types/deviations.json explains something that is not so`),
    ...withoutCaches.map((name) => `not told over QMP: the caches of ${name}; describe them in cpu-models/caches.json`),
  ];
  return lines.join('\n');
}
