/** Tests of what a lab host is booted from: initramfs archives, module order, images. */
import { spawnSync } from 'node:child_process';
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { smallFileSystem } from '../../../reference-vmm/fixtures.js';
import { type CpioEntry, FILE, FOLDER, writeCpio } from './cpio.js';
import { makeExt4 } from './ext4-image.js';
import { ensureHostImages } from './host-images.js';
import { cpuArgument, labCpu, labCpus } from './lab-cpus.js';
import { dependenciesOf, loadModules } from './modules.js';
import { formatLine, parseLine, type SwitchboardLine } from './switchboard.js';

/** Reads a newc archive back, as the kernel does: by the sizes in its headers, each part padded to four bytes. */
function readCpio(archive: Buffer): { path: string; mode: number; content: Buffer }[] {
  const entries = [];
  for (let at = 0; ; ) {
    const field = (i: number): number =>
      Number.parseInt(archive.toString('latin1', at + 6 + i * 8, at + 14 + i * 8), 16);
    const path = archive.toString('utf8', at + 110, at + 110 + field(11) - 1);
    if (archive.toString('latin1', at, at + 6) !== '070701') throw new Error(`no entry at ${at}`);
    if (path === 'TRAILER!!!') return entries;
    const start = (at + 110 + field(11) + 3) & ~3;
    entries.push({ path, mode: field(1), content: archive.subarray(start, start + field(6)) });
    at = (start + field(6) + 3) & ~3;
  }
}

void t.test('an archive holds every entry, in order, and is the same each time', async () => {
  const entry = fc.record({
    path: fc.stringMatching(/^[a-z/é]{1,30}$/),
    mode: fc.constantFrom(FILE | 0o644, FOLDER | 0o755),
    content: fc.uint8Array({ maxLength: 20 }),
  });
  fc.assert(
    fc.property(fc.array(entry), (entries: CpioEntry[]) => {
      const archive = writeCpio(entries);
      const read = readCpio(archive).map((e) => ({ ...e, content: new Uint8Array(e.content) }));
      return (
        archive.length % 512 === 0 &&
        archive.equals(writeCpio(entries)) &&
        JSON.stringify(read) === JSON.stringify(entries)
      );
    }),
    { seed: 4 },
  );
});

const object = (depends: string): string => `\x7fELF\0license=GPL\0depends=${depends}\0name=x\0`;

void t.test('modules come after what they depend on; what is no file is built in', async (t) => {
  const folder = t.testdir({
    a: { 'kvm.ko': object('irqbypass'), 'kvm-amd.ko': object('kvm,ccp-absent') },
    b: { 'irqbypass.ko': object('') },
  });
  const modules = await loadModules(folder, ['kvm_amd', 'virtio_blk', 'irqbypass']);
  t.same(
    modules.map((module) => module.name),
    ['irqbypass', 'kvm', 'kvm_amd'],
  );
  t.same(dependenciesOf(Buffer.from(object('a-b,c'))), ['a_b', 'c']);
  await t.rejects(loadModules(t.testdir({ empty: {} }), ['kvm']), { code: 'no-modules' });
});

void t.test('an image of the same content is the same, whenever it is made', async (t) => {
  if (spawnSync('mke2fs', ['-V'], { env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' } }).error)
    return t.plan(0, 'mke2fs is not installed');
  const folder = t.testdir({ content: { file: 'x'.repeat(5000), below: { other: 'y' } } });
  const images = ['one', 'two'].map((name) => join(folder, name));
  for (const [i, image] of images.entries()) {
    await utimes(join(folder, 'content/file'), 1_000_000_000 + i, 1_000_000_000 + i);
    await writeFile(join(folder, 'content/below/other'), 'y');
    await makeExt4(join(folder, 'content'), image, 10_000);
    await new Promise((resolve) => setTimeout(resolve, 1100 * (1 - i)));
  }
  const [one, two] = await Promise.all(images.map((image) => readFile(image)));
  t.ok(one!.equals(two!));
  t.ok(one!.includes('x'.repeat(4096)));
});

const tiny = smallFileSystem(t, '2m');

void t.test(
  'a full cache disk: images are refused in one line, and no part of one stays',
  { skip: !tiny && 'may not mount a file system' },
  async (t) => {
    const error = await ensureHostImages(tiny!).then(
      () => null,
      (why: unknown) => why,
    );
    t.match(error, { code: 'cache-disk-full', exitCode: 3, message: /needs 200 MiB and its disk has [^\n]*$/ });
    const left = await readdir(tiny!, { recursive: true });
    t.same(
      left.filter((name) => /\.(ext4|img)$/.test(name)),
      [],
    );
  },
);

void t.test('the lines of a switchboard survive their text form', async (t) => {
  const text = fc.string().map((s) => s.replaceAll(/[\n!]/g, ''));
  const line: fc.Arbitrary<SwitchboardLine> = fc.oneof(
    fc.record({ number: fc.nat(), data: text }),
    fc.record({ number: fc.nat(), open: fc.constant({ kind: 'agent' as const }) }),
    fc.record({
      number: fc.nat(),
      open: fc.record({ kind: fc.constantFrom('connect', 'listen'), socket: fc.string() }),
    }),
    fc.record({ number: fc.nat(), end: fc.record({ words: fc.string() }) }),
  );
  fc.assert(
    fc.property(line, (given) => {
      const written = formatLine(given);
      return (
        written.indexOf('\n') === written.length - 1 &&
        JSON.stringify(parseLine(written.slice(0, -1))) === JSON.stringify(given)
      );
    }),
    { seed: 4 },
  );
  t.throws(() => parseLine('Kernel panic'), SyntaxError);
});

void t.test('lab CPUs: names are unique, nothing is both on and off, a wrong name gets its nearest', async (t) => {
  const names = labCpus().map((cpu) => cpu.name);
  t.equal(new Set(names).size, names.length);
  for (const cpu of labCpus()) {
    t.same(
      cpu.on.filter((feature) => cpu.off.includes(feature)),
      [],
      cpu.name,
    );
    t.match(cpuArgument(cpu), /\+svm,\+npt/);
  }
  t.throws(() => labCpu('EPYC-Genua'), { code: 'unknown-lab-cpu', nearest: ['EPYC-Genoa'] });
});
