import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import t from 'tap';
import { packageFile } from '../../../corpora/package-root.js';
import { formatCapture } from '../capture-file.js';
import { altersCpuid } from '../summary.js';
import { dumpFiles, needsDumps } from './captures-for-tests.js';
import { committedCaptures, openCapture } from './open-capture.js';

const COMMITTED = packageFile('corpora/hosts/EPYC/5.10.0-46.json');

void t.test('a committed capture is had by its name, the beginning of it, or its file, also gzipped', async (t) => {
  const text = readFileSync(COMMITTED, 'utf8');
  const gzipped = join(t.testdir(), 'capture.json.gz');
  writeFileSync(gzipped, gzipSync(text));
  for (const name of ['EPYC/5.10.0-46', 'EPYC/5.10', COMMITTED, gzipped]) {
    const { host, origin } = await openCapture(name);
    t.equal(formatCapture(host, origin), text, name);
  }
  t.match(await openCapture('EPYC/7'), { host: { facts: { kernel: /^7\.3/ } } }, 'the newest of several');
  t.ok(committedCaptures().indexOf('EPYC/5.10.0-46') < committedCaptures().indexOf('EPYC/6.12.107+deb13'));
});

void t.test('what is no capture is refused with the place at fault', async (t) => {
  const capture = JSON.parse(readFileSync(COMMITTED, 'utf8')) as Record<string, unknown>;
  const folder = t.testdir();
  const refused = async (name: string, content: string, why: RegExp): Promise<void> => {
    const file = join(folder, name);
    writeFileSync(file, content);
    await t.rejects(openCapture(file), { code: 'bad-capture', message: why });
  };
  await refused('text', 'hello', /not JSON/);
  await refused('other', '{"schema":"guest-abi/verify/1"}', /its schema is guest-abi.verify.1, not guest-abi.host.1/);
  await refused('none', '{}', /kernel/);
  await refused('more', JSON.stringify({ ...capture, more: 1 }), /more/);
  await refused('row', JSON.stringify({ ...capture, supportedCpuid: [{ leaf: 'x' }] }), /supportedCpuid\.0\.leaf/);
  const [row] = capture.supportedCpuid as unknown[];
  await refused('twice', JSON.stringify({ ...capture, supportedCpuid: [row, row] }), /stands twice/);
  await refused('facts', JSON.stringify({ ...capture, facts: {} }), /facts\.kernel/);
  const bomb = join(folder, 'bomb.gz');
  writeFileSync(bomb, gzipSync(Buffer.alloc(64 * 1024 * 1024)));
  await t.rejects(openCapture(bomb), { code: 'bad-capture' });
  await t.rejects(openCapture('EPYC/4.9'), { code: 'no-such-capture', message: /EPYC\// });
});

interface Dump {
  readonly supportedCpuid: readonly Readonly<Record<string, string>>[];
  readonly msrIndexList: readonly string[];
  readonly msrFeatureValues: Readonly<Record<string, string>>;
}

void t.test('a dump comes in whole', needsDumps, async (t) => {
  for (const file of dumpFiles()) {
    const dump = JSON.parse(gunzipSync(readFileSync(file)).toString()) as Dump;
    const { host } = await openCapture(file);
    t.equal(host.supportedCpuid.rows.length, dump.supportedCpuid.length, file);
    for (const row of dump.supportedCpuid) {
      const [leaf, subleaf] = [Number(row.leaf), Number(row.subleaf)];
      const got = host.supportedCpuid.get(leaf, subleaf) ?? host.supportedCpuid.get(leaf, null);
      t.same([got?.eax, got?.ebx, got?.ecx, got?.edx], [row.eax, row.ebx, row.ecx, row.edx].map(Number));
    }
    t.same(host.msrIndices, dump.msrIndexList.map(Number));
    t.equal(host.featureMsrs.length, Object.keys(dump.msrFeatureValues).length);
    t.equal(altersCpuid(host), file.includes('kvm-pvm'), 'kernels with hardware virtualization keep the table');
    const again = join(t.testdir(), 'again.json');
    writeFileSync(again, formatCapture(host, 'test'));
    t.same((await openCapture(again)).host, host, 'it is read back as it was written');
  }
});
