/** What a command ends with where nobody reads what it says, or where that cannot be written. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { CLI } from './run-cli.js';

const FULL = '/dev/full';
const folder = t.testdir();
const endless = join(folder, 'endless');
// mov $0x3f8, %edx; 1: mov $'x', %al; out %al, %dx; jmp 1b
writeFileSync(endless, Uint8Array.of(0xba, 0xf8, 3, 0, 0, 0xb0, 0x78, 0xee, 0xeb, 0xfb));
const TALKS = ['vmm', 'run', '--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalem', '--allow-altered', '--force-features'];
const ENDLESS = [...TALKS, '--kernel', endless, '--timeout', '1'];

/** Runs it with stdout (and stderr, where `deaf`) closed by its reader, or on a full disk. */
function run(args: readonly string[], stdout: 'closed' | 'full', deaf = false) {
  const full = stdout === 'full' ? openSync(FULL, 'w') : null;
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, CLI, ...args], {
    stdio: ['ignore', full ?? 'pipe', 'pipe'],
  });
  if (full !== null) closeSync(full);
  child.stdout?.destroy();
  if (deaf) child.stderr!.destroy();
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise<{ code: number | null; stderr: string }>((resolve) => {
    child.on('exit', (code) => setImmediate(() => resolve({ code, stderr })));
  });
}

const RECORDED = ['verify', '--pair', 'pc-i440fx-1.6/Nehalem', '--scenario', 'boot', '--host', 'recorded:EPYC/6.12'];

void t.test('a reader that goes away changes no exit code', async (t) => {
  t.match(await run(['machines'], 'closed'), { code: 0, stderr: '' });
  t.match(await run(['resolve', '--machine', 'pc-1.00', '--cpu', 'Nehalem', '--json'], 'closed'), { code: 2 });
  t.match(await run(['resolve', '--machine', 'pc-1.00', '--cpu', 'Nehalem'], 'closed', true), { code: 2 });
  const log = ['--log', join(folder, 'unread.jsonl')];
  t.match(await run([...RECORDED, ...log], 'closed'), { code: 3, stderr: '' }, 'nothing was verified');
});

const skip = !existsSync(FULL) && `no ${FULL}`;
const NOT_WRITTEN = /^guest-abi: cannot write to stdout: ENOSPC\n$/;

void t.test('a full disk behind stdout is one clear line, exit code 3', { skip }, async (t) => {
  for (const args of [['machines'], ['resolve', '--machine', 'pc-1.0', '--cpu', 'Nehalem', '--json']])
    t.match(await run(args, 'full'), { code: 3, stderr: NOT_WRITTEN });
});

void t.test(
  'vmm run: the guest goes on where nobody reads its serial port, and ends on a full disk',
  needsKvm,
  async (t) => {
    t.match(await run(ENDLESS, 'closed'), { code: 1, stderr: /^guest-abi: the guest ran for 1 s: .*\n$/ });
    t.match(await run(ENDLESS, 'full'), { code: 3, stderr: NOT_WRITTEN });
  },
);
