import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { InputError } from '../../corpora/errors.js';
import { packageFile } from '../../corpora/package-root.js';
import { GuestMemory, gpa } from '../kvm/guest-memory.js';
import { planBoot, splitModuleList } from './boot.js';
import { applyLoads, type BootOptions, type BootPlan } from './plan.js';

const MEMORY = 4 << 20;
const PROBE = new Uint8Array(readFileSync(packageFile('guest-probes/cpu-state/probe.elf')));

/** The memory that a plan makes. */
function load(plan: BootPlan, before = 0): DataView & { text: (at: number) => string } {
  const bytes = new Uint8Array(MEMORY).fill(before);
  applyLoads(plan, new GuestMemory([{ gpa: 0, bytes, readOnly: false, hostAddress: 0n }]), before === 0);
  const text = (at: number) => Buffer.from(bytes.subarray(at, bytes.indexOf(0, at))).toString();
  return Object.assign(new DataView(bytes.buffer), { text });
}
const u32 = (view: DataView, at: number): number => view.getUint32(at, true);
const u64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

const MODULES = [
  { text: 'one with words', bytes: Uint8Array.of(1, 2, 3) },
  { text: 'two', bytes: new Uint8Array(5000).fill(7) },
];
const boot = (bytes: Uint8Array, more: Partial<BootOptions> = {}, protocol?: 'multiboot' | 'pvh' | 'flat'): BootPlan =>
  planBoot({ image: { name: 'guest', bytes, ...(protocol ? { protocol } : {}) }, ...more }, MEMORY);

void t.test('multiboot: modules, command line and memory map are where the information says', async (t) => {
  const plan = boot(PROBE, { modules: MODULES, append: 'a=b c' });
  t.match(plan, { protocol: 'multiboot', entry: { eax: 0x2badb002 } });
  const memory = load(plan);
  const info = plan.entry.ebx;
  t.equal(u32(memory, info) & 0x4d, 0x4d, 'memory, command line, modules, map');
  t.strictSame([u32(memory, info + 4), u32(memory, info + 8)], [639, MEMORY / 1024 - 1024]);
  t.equal(memory.text(u32(memory, info + 16)), 'guest a=b c');
  const bare = boot(PROBE);
  const without = load(bare);
  t.equal(without.text(u32(without, bare.entry.ebx + 16)), 'guest ', 'as QEMU has it');
  t.equal(u32(memory, info + 20), 2);
  const list = u32(memory, info + 24);
  for (const [i, { text, bytes }] of MODULES.entries()) {
    const [start, end] = [u32(memory, list + i * 16), u32(memory, list + i * 16 + 4)];
    t.equal(start % 4096, 0, 'page-aligned');
    t.strictSame(new Uint8Array(memory.buffer, start, end - start), bytes);
    t.equal(memory.text(u32(memory, list + i * 16 + 8)), text);
  }
  const map = [];
  const [length, at] = [u32(memory, info + 44), u32(memory, info + 48)];
  for (let entry = at; entry < at + length; entry += u32(memory, entry) + 4)
    map.push([u64(memory, entry + 4), u64(memory, entry + 12), u32(memory, entry + 20)]);
  t.strictSame(map, [
    [0, 0x9fc00, 1],
    [0x9fc00, 0x60400, 2],
    [0x100000, MEMORY - 0x100000, 1],
    [0xfffff000, 0x1000, 2],
  ]);
});

void t.test('PVH: the note is the entry, and hvm_start_info says the same as multiboot', async (t) => {
  const plan = boot(PROBE, { modules: MODULES, append: 'a=b c' }, 'pvh');
  const memory = load(plan);
  const info = plan.entry.ebx;
  t.not(plan.entry.eip, boot(PROBE).entry.eip);
  t.strictSame([u32(memory, info), u32(memory, info + 4), u32(memory, info + 12)], [0x336ec578, 1, 2]);
  t.equal(memory.text(u64(memory, info + 24)), 'a=b c');
  const list = u64(memory, info + 16);
  for (const [i, { text, bytes }] of MODULES.entries()) {
    t.strictSame(new Uint8Array(memory.buffer, u64(memory, list + i * 32), u64(memory, list + i * 32 + 8)), bytes);
    t.equal(memory.text(u64(memory, list + i * 32 + 16)), text);
  }
  const map = u64(memory, info + 40);
  t.equal(u32(memory, info + 48), 4);
  t.strictSame([u64(memory, map + 48), u64(memory, map + 56), u32(memory, map + 64)], [0x100000, MEMORY - 0x100000, 1]);
});

void t.test('nothing lies over anything, whatever the modules', async (t) => {
  const modules = fc.array(
    fc.record({ text: fc.string({ maxLength: 9 }), bytes: fc.uint8Array({ maxLength: 9000 }) }),
    {
      maxLength: 5,
    },
  );
  fc.assert(
    fc.property(modules, fc.constantFrom('multiboot' as const, 'pvh' as const), (list, protocol) => {
      const ranges = [...boot(PROBE, { modules: list }, protocol).loads]
        .filter(({ size }) => size > 0)
        .sort((a, b) => a.address - b.address);
      for (const [i, { address, size }] of ranges.entries())
        t.ok(address + size <= (ranges[i + 1]?.address ?? MEMORY), `load ${i} of ${ranges.length}`);
    }),
    { seed: 1, numRuns: 40 },
  );
});

void t.test('loading into used memory gives what loading into fresh memory gives, BSS zeroed', async (t) => {
  const plan = boot(PROBE);
  const [fresh, used] = [load(plan), load(plan, 0xaa)];
  for (const { address, size } of plan.loads)
    t.ok(Buffer.from(used.buffer, address, size).equals(Buffer.from(fresh.buffer, address, size)));
  t.ok(
    plan.loads.some(({ size, bytes }) => size > bytes.length),
    'the probe has a BSS',
  );
});

/** A raw image with a multiboot header that holds its own addresses; `code` follows the header. */
function kludge(fields: Partial<Record<'header' | 'load' | 'loadEnd' | 'bssEnd' | 'entry', number>> = {}): Uint8Array {
  const FLAGS = 0x1_0000;
  const { header = 0x200010, load: start = 0x200000, loadEnd = 0, bssEnd = 0, entry = 0x200030 } = fields;
  const words = [0x1badb002, FLAGS, (-0x1badb002 - FLAGS) >>> 0, header, start, loadEnd, bssEnd, entry];
  return new Uint8Array(
    Buffer.concat([Buffer.alloc(16, 0x90), Buffer.from(Uint32Array.from(words).buffer), Buffer.from([0xf4])]),
  );
}

void t.test('multiboot with addresses in the header loads from where they point', async (t) => {
  const plan = boot(kludge({ bssEnd: 0x200100 }));
  t.match(plan, { entry: { eip: 0x200030 } });
  t.match(plan.loads[0], { address: 0x200000, size: 0x100 });
  t.equal(plan.loads[0]!.bytes.length, 49);
  t.equal(load(plan).getUint8(0x200030), 0xf4);
});

void t.test('malformed images are refused, each with its reason', async (t) => {
  const refuse = (bytes: Uint8Array, message: RegExp, more: Partial<BootOptions> = {}) =>
    t.throws(() => boot(bytes, more), { code: 'bad-image', exitCode: 2, message });
  refuse(new Uint8Array(0), /guest: empty file/);
  refuse(kludge({ loadEnd: 0x300000 }), /loads more than the file holds/);
  refuse(kludge({ loadEnd: 0x200020, bssEnd: 0x200010 }), /BSS ends before/);
  refuse(kludge({ load: 0x200020 }), /before what it loads/);
  refuse(kludge({ load: 0x200008, header: 0x200020 }), /before the file/);
  refuse(kludge({ load: 0xf0000000, header: 0xf0000010 }), /needs memory up to 0xf0000031, the guest has 0x400000/);
  const wantsVideo = Buffer.from(PROBE);
  const at = wantsVideo.indexOf(Buffer.from([0x02, 0xb0, 0xad, 0x1b]));
  wantsVideo.writeUInt32LE(4, at + 4);
  wantsVideo.writeUInt32LE((-0x1badb002 - 4) >>> 0, at + 8);
  refuse(wantsVideo, /asks for what no loader here gives: flags 0x4/);
  const bzImage = Buffer.alloc(0x400);
  bzImage.write('HdrS', 0x202);
  refuse(bzImage, /Linux bzImage; give the ELF vmlinux/);
  const arm = Buffer.from(PROBE);
  arm.writeUInt16LE(40, 18);
  refuse(arm, /machine 40, not x86/);
  const elf = Buffer.from(PROBE);
  elf.writeUInt32LE(0, at);
  elf.writeUInt32LE(0xffff_fff0, 28);
  refuse(elf, /program headers lie beyond/);
  refuse(Uint8Array.of(0xf4), /takes no modules/, { append: 'x' });
  t.throws(() => boot(PROBE, { modules: [{ text: 'big', bytes: new Uint8Array(MEMORY) }] }), {
    code: 'memory-too-small',
    exitCode: 2,
  });
});

void t.test('no damage to an image does more than make it refused', async (t) => {
  const edits = fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 6 });
  const length = fc.oneof(fc.constant(PROBE.length), fc.nat(PROBE.length));
  let refused = 0;
  fc.assert(
    fc.property(edits, length, fc.constantFrom('multiboot' as const, 'pvh' as const), (changes, end, protocol) => {
      const bytes = PROBE.slice(0, end);
      for (const [place, value] of changes) if (place < end) bytes[place] = value;
      const memory = new GuestMemory([{ gpa: 0, bytes: new Uint8Array(MEMORY), readOnly: false, hostAddress: 0n }]);
      try {
        const plan = boot(bytes, {}, protocol);
        for (const { address, size } of plan.loads) memory.at(gpa(address), size);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        refused++;
      }
    }),
    { seed: 2, numRuns: 500 },
  );
  t.ok(refused > 50, `${refused} refused`);
});

void t.test('a module list is split as QEMU does: commas separate, two stand for one', async (t) => {
  t.strictSame(splitModuleList('a,b c d'), [
    { file: 'a', text: 'a' },
    { file: 'b', text: 'b c d' },
  ]);
  t.strictSame(
    splitModuleList('a,,b,c,,,d').map(({ file }) => file),
    ['a,b', 'c,', 'd'],
  );
  t.strictSame(splitModuleList(''), []);
});
