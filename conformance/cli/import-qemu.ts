/** `import qemu`: from a running QEMU to definition files, and what was found on the way. */
import { mkdirSync } from 'node:fs';
import { contractText } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { packageFile } from '../../corpora/package-root.js';
import { freezeMachines } from '../contracts/freeze.js';
import { askRelease } from '../import/ask-release.js';
import { importRelease } from '../import/import-release.js';
import { writeChanged } from '../import/write-definitions.js';
import { type QemuLauncher, qemuBinary, qemuTree } from '../packages/qemu-trees.js';
import { type CommonOptions, print, printJson } from './output.js';
import { definitionsOf } from './pairs.js';
import { progressLine } from './progress.js';
import { differenceLines, seenText, seeTables } from './qemu-tables.js';

export interface ImportQemuOptions extends CommonOptions {
  readonly binary?: string;
  readonly release?: string;
  readonly out?: string;
  readonly jobs?: number;
  readonly tables?: boolean;
  readonly machine?: readonly string[];
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
  if (options.tables) return importTables(launcher, definitions, out, options);
  const line = progressLine();
  const release = await askRelease(launcher, {
    ...(options.jobs === undefined ? {} : { workers: options.jobs }),
    onProgress: ({ step, done, total }) => line.update(`${step}: ${done} of ${total}`),
  });
  line.end();
  const { files, ...found } = importRelease(definitions, release);
  const written = writeChanged(files, [packageFile('corpora'), ...(options.corpora ?? [])], out);
  const report = {
    release: release.name,
    qemu: launcher.version,
    out,
    ...written,
    ...found,
  };
  if (options.json) printJson('import', report);
  else print(importText(report));
}

/** Contracts gain the QEMU as evidence where its guests saw what their pairs resolve to; where they did not, that is told. */
async function importTables(
  launcher: QemuLauncher,
  definitions: Definitions,
  out: string,
  { machine = ['*'], jobs = 2, json, corpora = [] }: ImportQemuOptions,
): Promise<void> {
  const seen = await seeTables(launcher, { machines: machine, models: ['*'] }, definitions, jobs);
  const released = seen.machines.filter((name) => !definitions.machine(name).follows);
  const files = [...freezeMachines(released, definitions, [seen])];
  const texts = new Map(files.map(([model, file]) => [`contracts/${model}.json`, contractText(file)]));
  const written = writeChanged(texts, [packageFile('corpora'), ...corpora], out);
  const different = seen.different.map((one) => ({ ...one, pair: `${one.machine}/${one.cpu}` }));
  if (json)
    printJson('import-tables', {
      ...{ qemu: launcher.version, evidence: seen.name, machines: seen.machines, seconds: seen.seconds, out },
      ...{ agreed: seen.agreed.length, different, ...written },
    });
  else
    print(
      [
        seenText(seen),
        ...differenceLines(seen).map((one) => `  ${one}`),
        `${written.added.length} contracts new, ${written.changed.length} with more evidence, ${written.same} as they were${written.added.length + written.changed.length ? `; written to ${out}` : ''}`,
      ].join('\n'),
    );
}

type Report = { release: string; qemu: string; out: string } & ReturnType<typeof writeChanged> &
  Omit<ReturnType<typeof importRelease>, 'files'>;

function importText(report: Report): string {
  const { qemu, out, added, changed, same, unexplained, needless, withoutCaches, unknownProperties, notHeld } = report;
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
    ...unknownProperties.map(
      (name) =>
        `not known: property ${name}; where it is a feature, give its bit in features/cpuid.json or msr.json and import again`,
    ),
    ...notHeld.map(
      ({ type, property, value, held, machines }) =>
        `not held: QEMU says ${type}.${property}=${value} on ${machines.join(', ')}; here it is ${held ?? 'unknown'}`,
    ),
    ...withoutCaches.map((name) => `not told over QMP: the caches of ${name}; describe them in cpu-models/caches.json`),
  ];
  return lines.join('\n');
}
