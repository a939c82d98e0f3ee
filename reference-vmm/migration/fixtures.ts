/** What the tests of migration share: a guest that notices a lost write, and two sides joined by a link that can be tampered with. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { flatMachine, noNames } from '../fixtures.js';
import { gpa } from '../kvm/guest-memory.js';
import type { Kvm } from '../kvm/kvm.js';
import { LiveMachine } from '../live-machine.js';
import { Machine, type MachineOptions } from '../monitor.js';
import { type Arrival, migrateIn, type Realizer } from './destination.js';
import { type MigrateOptions, type MigrationEnd, migrateOut } from './source.js';

export const WINDOW = 0x20_0000;
/** Code with which the writer ends itself when a page does not hold what it wrote last. */
export const LOST_WRITE = 0xee;

/**
 * A guest that writes the number of its pass into each page of a window from 2 MiB on, after it has checked that the number of the
 * pass before stands there. A page that is lost or stale at a destination ends it within one pass.
 */
export function writerCode(pages: number): number[] {
  const end = WINDOW + pages * 4096;
  const bytes = [24, 16, 8, 0].map((shift) => (end >>> shift) & 0xff).reverse();
  return [
    ...[0x31, 0xc9], // xor %ecx, %ecx
    ...[0x41, 0xbf, 0, 0, 0x20, 0], // pass: inc %ecx; mov $WINDOW, %edi
    ...[0x8b, 0x07, 0x40, 0x39, 0xc1, 0x75, 0x12], // page: mov (%edi), %eax; inc %eax; cmp %eax, %ecx; jne lost
    ...[0x89, 0x0f, 0x81, 0xc7, 0, 0x10, 0, 0], // mov %ecx, (%edi); add $4096, %edi
    ...[0x81, 0xff, ...bytes, 0x72, 0xe9, 0xeb, 0xe1], // cmp $end, %edi; jb page; jmp pass
    ...[0xb0, LOST_WRITE, 0xe6, 0xf4, 0xeb, 0xfc], // lost: mov $LOST_WRITE, %al; out %al, $0xf4; jmp .-2
  ];
}

export function writer(kvm: Kvm, pages: number, options: Partial<MachineOptions> = {}): LiveMachine {
  const live = new LiveMachine(flatMachine(kvm, writerCode(pages), { memoryBytes: 8 << 20, ...options }));
  live.resume();
  return live;
}

/** The pass of the writer that is in the window's first page. */
export const passOf = (live: LiveMachine): number => Buffer.from(live.memory.at(gpa(WINDOW), 4)).readUInt32LE(0);

/** Resolves once the writer has made so many more passes; throws where it ended or stands still. */
export async function runsOn(live: LiveMachine, passes = 2): Promise<void> {
  const wanted = passOf(live) + passes;
  for (const until = performance.now() + 10_000; passOf(live) < wanted; ) {
    if (live.state !== 'running') throw new Error(`the guest is ${live.state}`);
    if (performance.now() > until) throw new Error('the guest stands still');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** True where the guest makes no pass within some milliseconds. */
export async function standsStill(live: LiveMachine): Promise<boolean> {
  const before = passOf(live);
  await new Promise((resolve) => setTimeout(resolve, 20));
  return live.state !== 'running' && passOf(live) === before;
}

/** Makes what is offered, as the destination of these tests. */
export const realizer =
  (kvm: Kvm, options: Partial<MachineOptions> = {}): Realizer =>
  ({ identity, memoryBytes }) => {
    const made = Machine.create(kvm, identity, {
      ...{ nameOf: noNames, forceFeatures: true, step: 'destination', memoryBytes },
      ...options,
    });
    return made.kind === 'refused' ? made.reasons : new LiveMachine(made.machine);
  };

/** What stands between the two sides: given each chunk of either direction before it is handed on. */
export type Tamper = (
  chunk: Buffer,
  to: 'destination' | 'source',
  cut: () => void,
) => Buffer | null | Promise<Buffer | null>;

export interface Ends {
  readonly source: PromiseSettledResult<MigrationEnd>;
  readonly destination: PromiseSettledResult<Arrival>;
}

/** Migrates over a TCP link that `tamper` stands in. `silenceMs`: of the destination; default as the source's. */
export async function migrate(
  machine: LiveMachine,
  realize: Realizer,
  {
    tamper,
    silenceMs: patience,
    ...options
  }: MigrateOptions & { readonly tamper?: Tamper; readonly silenceMs?: number } = {},
): Promise<Ends> {
  const [near, far] = await (tamper ? tamperedPair(tamper) : socketPair());
  const silenceMs = patience ?? options.parameters?.['silence-limit'] ?? 5000;
  const [source, destination] = await Promise.allSettled([
    migrateOut(machine, near, 'test link', options),
    migrateIn(far, 'test link', realize, { silenceMs }),
  ]);
  return { source, destination };
}

/** The machine that arrived. Throws what went wrong where none did. */
export async function moved(
  machine: LiveMachine,
  realize: Realizer,
  options: MigrateOptions = {},
): Promise<LiveMachine> {
  const { source, destination } = await migrate(machine, realize, options);
  if (source.status === 'rejected') throw source.reason;
  if (source.value.kind !== 'completed') throw new Error(JSON.stringify(source.value));
  if (destination.status === 'rejected') throw destination.reason;
  if (destination.value.kind !== 'arrived') throw new Error('refused');
  return destination.value.machine;
}

export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ noDelay: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const near = connect({ port, host: '127.0.0.1', noDelay: true });
  const [far] = (await once(server, 'connection')) as [Socket];
  server.close();
  return [near, far];
}

async function tamperedPair(tamper: Tamper): Promise<[Socket, Socket]> {
  const [[near, nearInner], [farInner, far]] = await Promise.all([socketPair(), socketPair()]);
  const cut = (): void => {
    nearInner.destroy();
    farInner.destroy();
  };
  for (const [from, to, direction] of [
    [nearInner, farInner, 'destination'],
    [farInner, nearInner, 'source'],
  ] as const) {
    void (async () => {
      for await (const chunk of from) {
        const given = await tamper(chunk as Buffer, direction, cut);
        if (given && !to.write(given)) await once(to, 'drain');
      }
      to.end();
    })().catch(() => to.destroy());
    from.on('error', () => undefined);
  }
  return [near, far];
}
