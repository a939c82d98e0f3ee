/** The witness probe under a real QEMU: several vCPUs, commands. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { COMMAND, SHUTDOWN_CODE } from '../../corpora/probe-abi.js';
import { shortFolder } from '../../corpora/short-folder.js';
import { encodeWitnessRequest, WITNESS_COMMAND, type WitnessRequest } from '../../corpora/witness-abi.js';
import { probeImagePath } from '../images.js';
import { RecordAssembler } from '../record-assembler.js';
import { decodeWitness, type WitnessRecord } from '../witness-record.js';

const QEMU = 'qemu-system-x86_64';
const skip = spawnSync(QEMU, ['--version']).status !== 0 && `${QEMU} is not installed`;

const REQUEST: WitnessRequest = {
  cpuid: [0, 1, 0x80000001].map((leaf) => ({ leaf, subleaf: 0 })),
  msrs: [0x1b, 0x277, 0xdead],
  apicIds: [1, 2],
  xcr0: true,
  firstPages: 3,
  growth: 2,
  lastPages: 9,
};

/** Boots the witness under TCG. `send` writes to COM1, `round` too, and gives the next record of each vCPU. */
async function boot(t: Test, request: WitnessRequest | null, smp: string) {
  const folder = shortFolder(t);
  const [module, com1] = [join(folder, 'request'), join(folder, 'com1')];
  const server = createServer().listen(com1);
  await once(server, 'listening');
  if (request) writeFileSync(module, encodeWitnessRequest(request));
  const args = [
    ...['-accel', 'tcg', '-cpu', 'max', '-smp', smp, '-m', '8', '-nodefaults', '-display', 'none', '-no-reboot'],
    ...['-kernel', probeImagePath('witness'), ...(request ? ['-initrd', module] : []), '-serial', `unix:${com1}`],
    ...['-chardev', 'stdio,id=probe', '-device', 'isa-debugcon,iobase=0xe9,chardev=probe'],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
  ];
  const qemu = spawn(QEMU, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  t.teardown(() => {
    qemu.kill();
    server.close();
  });
  const [serial] = (await once(server, 'connection')) as [Socket];
  const send = (...bytes: number[]) => serial.write(Uint8Array.from(bytes));
  const assembler = new RecordAssembler(decodeWitness);
  const chunks = qemu.stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const round = async (...bytes: number[]): Promise<WitnessRecord[]> => {
    send(...bytes);
    const records: WitnessRecord[] = [];
    while (records.length < Number(smp)) {
      const { value, done } = await chunks.next();
      if (done) throw new Error('QEMU ended');
      records.push(...assembler.push(value));
    }
    return records;
  };
  return { qemu, send, round };
}

void t.test('every vCPU watches, and nothing changes', { skip }, async (t) => {
  const { qemu, send, round } = await boot(t, REQUEST, '3');
  const first = await round();
  const second = await round(WITNESS_COMMAND.forgetGap, WITNESS_COMMAND.pace, 9, 0, 0, 0, COMMAND.dump);
  t.same(
    [...first, ...second].map(({ index, sequence, changes }) => [index, sequence, changes]),
    [0, 1].flatMap((sequence) => [0, 1, 2].map((index) => [index, sequence, 0n])),
  );
  for (const [i, { visits, tsc, pace, laps, pages }] of second.entries()) {
    t.ok(visits > first[i]!.visits && tsc > first[i]!.tsc, 'it goes on');
    t.equal(pace, 9n);
    t.equal(pages, laps < 3n ? 3n + 2n * laps : 9n, 'the slice grows up to its end');
  }
  send(COMMAND.shutdown);
  t.same(await once(qemu, 'exit'), [(SHUTDOWN_CODE << 1) | 1, null]);
});

void t.test('without a request it is one vCPU', { skip }, async (t) => {
  const { round } = await boot(t, null, '1');
  t.match(await round(), [{ index: 0, sequence: 0, changes: 0n, pages: 16n }]);
});
