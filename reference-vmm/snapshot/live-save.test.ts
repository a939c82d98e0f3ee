/** Live save on real KVM: the image is the machine at the moment of the request, whatever the guest writes meanwhile, and giving up leaves nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { flatMachine, needsKvm, noNames, smallFileSystem } from '../fixtures.js';
import { decodeRegs } from '../kvm/codec.js';
import type { Kvm } from '../kvm/kvm.js';
import { openKvm } from '../kvm/system.js';
import { WriteProtection } from '../kvm/userfaultfd.ffi.js';
import { LiveMachine } from '../live-machine.js';
import { readSnapshot } from './file.js';
import { startLiveSave } from './live-save.js';
import type { MachineState } from './machine-state.js';
import { restoreSnapshot } from './restore.js';

const MEMORY = 8 << 20;
const FIRST = 0x20_0000;
const PAGES = 0x200;
const dword = (value: number): number[] => [0, 8, 16, 24].map((bit) => (value >>> bit) & 0xff);
/**
 * Writes its counter to one page after the other, round after round:
 * xor %eax, %eax; 1: inc %eax; mov $FIRST, %edi; mov $PAGES, %ecx; 2: mov %eax, (%edi); add $4096, %edi; dec %ecx; jnz 2b; jmp 1b
 */
const WRITER = [
  ...[0x31, 0xc0, 0x40, 0xbf, ...dword(FIRST), 0xb9, ...dword(PAGES)],
  ...[0x89, 0x07, 0x81, 0xc7, ...dword(0x1000), 0x49, 0x75, 0xf5, 0xeb, 0xe8],
];
const MOV_OFFSET = 13;

/** What the guest wrote last, by its memory and by its registers: pages before `at` hold `round`, those behind it the one before. */
function roundOf(state: MachineState): { round: number; agree: boolean } {
  const { rax, rdi, rip } = decodeRegs(state.vcpus[0]!.parts.regs);
  const round = Number(rax);
  const held = new Map(state.pages.map(({ gpa, bytes }) => [gpa, Buffer.from(bytes).readUInt32LE()]));
  const values = Array.from({ length: PAGES }, (_, page) => held.get(FIRST + page * 4096) ?? 0);
  // Up to `mov` nothing of the page at EDI is written; behind it, until EDI moves on, it is.
  const offset = Number(rip) - 0x10_0000;
  const before = offset < MOV_OFFSET - 5 ? 0 : (Number(rdi) - FIRST) / 4096 + (offset === MOV_OFFSET + 2 ? 1 : 0);
  const full = offset <= MOV_OFFSET - 10;
  return { round, agree: full || values.every((value, page) => value === (page < before ? round : round - 1)) };
}

const folder = mkdtempSync(join(tmpdir(), 'guest-abi-live-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'guest.snapshot');

const canProtect: { readonly skip: string | false } = (() => {
  if (needsKvm.skip) return needsKvm;
  using kvm = openKvm();
  using machine = flatMachine(kvm, WRITER);
  const { hostAddress, bytes } = machine.memory.regions[0]!;
  try {
    WriteProtection.open({ address: hostAddress, bytes: bytes.length })[Symbol.dispose]();
    return { skip: false };
  } catch (error) {
    return { skip: (error as Error).message };
  }
})();

function writingGuest(kvm: Kvm): LiveMachine {
  const live = new LiveMachine(flatMachine(kvm, WRITER, { memoryBytes: MEMORY }));
  live.resume();
  return live;
}

/** The round that the guest is in now. */
const now = (live: LiveMachine): number => new DataView(live.memory.regions[0]!.bytes.buffer).getUint32(FIRST, true);

async function writesOn(live: LiveMachine): Promise<boolean> {
  const before = now(live);
  for (let wait = 0; wait < 500 && now(live) < before + 2; wait++) await sleep(10);
  return now(live) >= before + 2;
}

void t.test('the image is the guest at the moment of the request', canProtect, async (t) => {
  using kvm = openKvm();
  using live = writingGuest(kvm);
  for (const bytesPerSecond of [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 20_000_000]) {
    t.ok(await writesOn(live));
    const save = await startLiveSave(live, file, { bytesPerSecond });
    t.equal(live.state, 'running');
    const end = await save.done;
    t.match(end, { kind: 'saved' });
    if (bytesPerSecond < 1e9)
      t.ok(end.kind === 'saved' && end.faults > 0, 'the guest wrote before the scan had come by');
    t.equal(statSync(file).size, save.fileBytes);
    t.ok(save.fileBytes - MEMORY < 0x1_0000, 'no larger than memory and device state');
    t.strictSame(readdirSync(folder), ['guest.snapshot']);
    const state = readSnapshot(file);
    t.ok(roundOf(state).agree, 'memory is as the registers say');
    t.ok(await writesOn(live), 'and the guest writes on');
  }
});

void t.test('one image is restored twice, read or mapped; each guest goes on from there', canProtect, async (t) => {
  using kvm = openKvm();
  {
    using live = writingGuest(kvm);
    await writesOn(live);
    await (await startLiveSave(live, file)).done;
  }
  const { round } = roundOf(readSnapshot(file));
  for (const lazy of [false, true, true]) {
    const restored = restoreSnapshot(kvm, file, { nameOf: noNames, forceFeatures: true, lazy });
    if (restored.kind === 'refused') return void t.fail(restored.reasons[0]!.message);
    using live = new LiveMachine(restored.machine);
    live.resume();
    t.ok(await writesOn(live));
    live.pause();
    const later = roundOf(live.machine.saveState());
    t.ok(later.agree && later.round > round && later.round < round + 1_000_000);
    if (!lazy) continue;
    live.resume();
    await t.rejects(startLiveSave(live, join(folder, 'again')), {
      ...{ code: 'userfaultfd-missing', exitCode: 3 },
      message: /save while stopped/,
    });
    t.equal(live.state, 'running');
  }
  t.strictSame(roundOf(readSnapshot(file)), { round, agree: true }, 'the file is as it was');
});

void t.test('a paused guest stays paused', canProtect, async (t) => {
  using kvm = openKvm();
  using live = writingGuest(kvm);
  await writesOn(live);
  live.pause();
  const before = live.machine.saveState();
  t.match(await (await startLiveSave(live, file)).done, { kind: 'saved', faults: 0 });
  t.equal(live.state, 'paused');
  t.strictSame(
    readSnapshot(file).pages.map(({ gpa }) => gpa),
    before.pages.map(({ gpa }) => gpa),
  );
  t.strictSame(roundOf(readSnapshot(file)), roundOf(before));
});

void t.test('giving up leaves no file, and a guest that writes on', canProtect, async (t) => {
  using kvm = openKvm();
  using live = writingGuest(kvm);
  // 40 s at this rate: pages of zeros take no time, and those that the guest writes do not wait.
  live.memory.regions[0]!.bytes.fill(1, MEMORY / 2);
  const gone = join(folder, 'gone');
  const save = await startLiveSave(live, gone, { bytesPerSecond: 100_000 });
  t.ok(await writesOn(live), 'it is not held back by a slow file');
  t.ok(save.progress().faults > 0);
  t.strictSame(await save.giveUp(), { kind: 'given-up' });
  t.ok(await writesOn(live));
  t.strictSame(readdirSync(folder), ['guest.snapshot']);
  t.match(await (await startLiveSave(live, gone)).done, { kind: 'saved' }, 'and it can be saved again');
  rmSync(gone);
});

const tiny = smallFileSystem(t, '1m');

void t.test(
  'a full disk ends the save, not the guest',
  { skip: canProtect.skip || (!tiny && 'may not mount a file system') },
  async (t) => {
    using kvm = openKvm();
    using live = writingGuest(kvm);
    await writesOn(live);
    const save = await startLiveSave(live, join(tiny!, 'guest.snapshot'));
    await t.rejects(save.done, {
      ...{ code: 'file-not-written', exitCode: 3 },
      message: /^cannot write .*guest\.snapshot: ENOSPC$/,
    });
    t.ok(await writesOn(live));
    t.strictSame(readdirSync(tiny!), []);
    await t.rejects(startLiveSave(live, '/no/such/folder/x'), { code: 'file-not-written' });
    t.ok(await writesOn(live));
  },
);

const here = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
/** Saves for so long that it does not end by itself. */
const SLOW_SAVE = `
  import { flatMachine } from ${here('../fixtures.js')};
  import { openKvm } from ${here('../kvm/system.js')};
  import { LiveMachine } from ${here('../live-machine.js')};
  import { startLiveSave } from ${here('live-save.js')};
  const live = new LiveMachine(flatMachine(openKvm(), ${JSON.stringify(WRITER)}, { memoryBytes: ${MEMORY} }));
  live.resume();
  await new Promise((resolve) => setTimeout(resolve, 50));
  try {
    const save = await startLiveSave(live, process.argv[1], { bytesPerSecond: 100_000 });
    console.log('saving');
  } catch (error) {
    console.log(error.code, error.message);
    process.exit(error.exitCode);
  }`;

const startSlowSave = (program: string, args: readonly string[], target: string) =>
  spawn(program, [...args, process.execPath, '--input-type=module', '-e', SLOW_SAVE, target], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH },
  });

void t.test('a monitor that is killed while it saves leaves no file under the name', canProtect, async (t) => {
  const target = join(folder, 'killed');
  const child = startSlowSave('env', [], target);
  const ended = once(child, 'close');
  t.match(String((await once(child.stdout, 'data'))[0]), /saving/);
  child.kill('SIGKILL');
  await ended;
  t.notOk(readdirSync(folder).includes('killed'));
});

void t.test('where userfaultfd is not allowed, the error says so and names the way out', canProtect, async (t) => {
  const hide = 'test ! -e /dev/userfaultfd || mount --bind /dev/null /dev/userfaultfd; exec "$@"';
  const without = ['-m', 'sh', '-c', hide, 'sh', 'setpriv', '--bounding-set=-sys_ptrace'];
  if (process.getuid!() !== 0) return t.comment('only root can take rights away here');
  const child = startSlowSave('unshare', without, join(folder, 'refused'));
  const said = once(child.stdout, 'data');
  t.strictSame(await once(child, 'close'), [3, null]);
  t.match(String((await said)[0]), /^userfaultfd-missing .*EPERM.*save while stopped/);
  t.notOk(readdirSync(folder).some((name) => name.startsWith('refused')));
});
