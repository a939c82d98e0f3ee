/** Tests of the committed captures: their form, what was measured before on the same kernels, and what those kernels say now. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import type { CpuidTable } from '../../corpora/cpuid.js';
import { packageFile } from '../../corpora/package-root.js';
import { formatCapture, readCapture } from './capture-file.js';
import { labKernels } from './lab/kernels.js';
import { openLabHosts } from './lab/pool.js';

const FOLDER = packageFile('corpora/hosts');
const captures = readdirSync(FOLDER).flatMap((cpu) =>
  readdirSync(join(FOLDER, cpu)).map((file) => ({
    cpu,
    kernel: file.replace(/\.json$/, ''),
    path: join(FOLDER, cpu, file),
  })),
);

void t.test('every capture is in its one form and names its host', async (t) => {
  t.ok(captures.length >= 10);
  for (const { cpu, kernel, path } of captures) {
    const { host, origin } = readCapture(path);
    t.equal(formatCapture(host, origin), readFileSync(path, 'utf8'), path);
    t.ok(origin.startsWith(`lab:${kernel}/${cpu},`), origin);
    t.ok(host.facts.kernel.startsWith(kernel), path);
  }
  t.throws(() => readCapture(packageFile('package.json')), { code: 'bad-capture' });
});

interface Measured {
  readonly supportedCpuid: readonly MeasuredRow[];
  readonly emulatedCpuid: readonly MeasuredRow[];
  readonly msrIndexList: readonly string[];
  readonly msrFeatureValues: Readonly<Record<string, string>>;
  readonly caps: Readonly<Record<string, number>>;
}
type MeasuredRow = Readonly<Record<'leaf' | 'subleaf' | 'eax' | 'ebx' | 'ecx' | 'edx', string>>;

const numbers = (rows: readonly MeasuredRow[]) =>
  rows.map(({ leaf, subleaf, eax, ebx, ecx, edx }) => [leaf, subleaf, eax, ebx, ecx, edx].map(Number)).sort(byPlace);
const byPlace = (a: number[], b: number[]): number => a[0]! - b[0]! || a[1]! - b[1]!;
const ours = (table: CpuidTable) =>
  table.rows.map((row) => [row.leaf, row.subleaf ?? 0, row.eax, row.ebx, row.ecx, row.edx]);

for (const { cpu, kernel, path } of captures) {
  void t.test(`${kernel}/${cpu} agrees with what was measured before`, async (t) => {
    let text: string;
    try {
      text = gunzipSync(
        readFileSync(packageFile(`../shared/ground-truth/host-captures/${cpu}/${kernel}.json.gz`)),
      ).toString();
    } catch {
      return t.plan(0, 'no measurement at hand');
    }
    const measured = JSON.parse(text) as Measured;
    const { host } = readCapture(path);
    t.same(ours(host.supportedCpuid), numbers(measured.supportedCpuid));
    t.same(ours(host.emulatedCpuid), numbers(measured.emulatedCpuid));
    t.same(host.msrIndices, measured.msrIndexList.map(Number));
    t.same(
      Object.fromEntries(host.featureMsrs.map(({ index, value }) => [index, value])),
      Object.fromEntries(
        Object.entries(measured.msrFeatureValues).map(([index, value]) => [Number(index), BigInt(value)]),
      ),
    );
    for (const [name, value] of Object.entries(host.capabilities))
      if (name in measured.caps) t.equal(value, measured.caps[name], name);
  });
}

/** Of the kernels in the cache, which follow Debian: those that were captured, the oldest and the newest of them. */
const known = (await labKernels()).filter(({ id }) => captures.some(({ kernel }) => kernel === id));
const recaptured = [
  ...[known[0], known.at(-1)].map((kernel) => ({ kernel, cpu: 'EPYC' })),
  { kernel: known.at(-1), cpu: 'EPYC-Genoa' },
];
const nothingKnown =
  known.length === 0 && 'no lab kernel in the cache has a committed capture: guest-abi host capture --host lab:...';

void t.test(
  'kernels that were captured still say what their captures say',
  { skip: nothingKnown, timeout: 600_000 },
  async (t) => {
    const hosts = await openLabHosts(recaptured.map(({ kernel, cpu }) => `${kernel!.id}/${cpu}`));
    t.teardown(() => Promise.all(hosts.map((host) => host[Symbol.asyncDispose]())));
    for (const { kernel, cpu } of recaptured) {
      const { path } = captures.find((capture) => capture.cpu === cpu && capture.kernel === kernel!.id)!;
      const host = hosts.find(({ summary }) => summary.id === `lab:${kernel!.id}/${cpu}`)!;
      t.equal(formatCapture(host.capabilities, host.origin), readFileSync(path, 'utf8'), host.origin);
    }
  },
);
