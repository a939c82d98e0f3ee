/** What is fuzzed: a destination of a migration, and the reader of snapshot files, both as they are, on the real KVM. */
import { closeSync, existsSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { GuestAbiError } from '../../corpora/errors.js';
import { featureName } from '../../corpora/features.js';
import type { Kvm } from '../../reference-vmm/kvm/kvm.js';
import { migrateIn } from '../../reference-vmm/migration/destination.js';
import { MESSAGE } from '../../reference-vmm/migration/messages.js';
import { encodeOffer } from '../../reference-vmm/migration/offer.js';
import { PageBatch } from '../../reference-vmm/migration/pages.js';
import {
  Checksum,
  containerLength,
  decodeContainer,
  encodeContainer,
  encodeHeader,
  HEADER_BYTES,
  type Section,
} from '../../reference-vmm/snapshot/container.js';
import { writeSnapshot } from '../../reference-vmm/snapshot/file.js';
import { coreSections, PAGE_BYTES } from '../../reference-vmm/snapshot/machine-state.js';
import { restoreSnapshot } from '../../reference-vmm/snapshot/restore.js';
import { identityOf, machineOf, realizerOf, type SoakShape } from '../soak/witness-guest.js';

const SHAPE: SoakShape = { vcpus: 1, memoryBytes: 3 * 1024 * 1024, seed: 1 };
/** A run that takes longer hangs. The link itself is given up after a tenth of it. */
const RUN_MS = 10_000;
/** Files that no disk has to keep. */
const IN_MEMORY = '/dev/shm';

/** How one input was taken: `arrived` and `restored` are right where only what nobody can check was changed. */
export type Ending = 'arrived' | 'restored' | `refused: ${string}`;

export interface Target {
  /** What an unharmed source sends, or writes. */
  readonly bytes: Buffer;
  readonly sections: readonly Section[];
  /** The sections under checksums that hold. */
  readonly seal: (sections: readonly Section[]) => Buffer;
  /** Throws, or rejects, on anything but an ending. */
  readonly take: (bytes: Buffer) => Promise<Ending>;
}

/** A stream to a destination. */
export function streamTarget(kvm: Kvm): Target {
  using live = machineOf(kvm, identityOf(SHAPE), SHAPE, true);
  live.machine.start();
  const batch = new PageBatch();
  for (const page of [256, 257, 300])
    batch.add(page, live.memory.regions[0]!.bytes.slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES), false);
  batch.add(400, new Uint8Array(0), true);
  const sections: Section[] = [
    { type: MESSAGE.offer, payload: encodeOffer({ identity: live.identity, ...live.travelFacts() }) },
    { type: MESSAGE.pages, payload: batch.take() },
    ...coreSections(live.saveCore()),
    // Paused: what arrives is to be looked at, not to run.
    { type: MESSAGE.go, payload: Uint8Array.of(0) },
  ];
  const seal = (all: readonly Section[]): Buffer => {
    const header = encodeHeader('migration stream', 0);
    const checksum = new Checksum(header);
    return Buffer.concat([header, ...all.flatMap(({ type, payload }) => [checksum.seal(type, payload), payload])]);
  };
  return { bytes: seal(sections), sections, seal, take: (bytes) => bounded(() => takeStream(kvm, bytes)) };
}

async function takeStream(kvm: Kvm, bytes: Buffer): Promise<Ending> {
  const link = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  link.push(bytes);
  link.push(null);
  const realize = realizerOf(kvm, SHAPE);
  const arrival = await migrateIn(link, 'fuzz', realize, { silenceMs: RUN_MS / 10 });
  if (arrival.kind === 'refused') return `refused: ${arrival.reasons[0]!.code}`;
  arrival.machine[Symbol.dispose]();
  return 'arrived';
}

/** A snapshot file, in a folder that disposing removes. What is changed is its container and the memory that is not zero, one behind the other. */
export function fileTarget(kvm: Kvm): Target & Disposable {
  const folder = mkdtempSync(join(existsSync(IN_MEMORY) ? IN_MEMORY : tmpdir(), 'guest-abi-fuzz-'));
  const file = join(folder, 'snapshot');
  using live = machineOf(kvm, identityOf(SHAPE), SHAPE, true);
  live.machine.start();
  writeSnapshot(file, live.machine.saveState());
  const whole = readFileSync(file);
  const fd = openSync(file, 'w');
  const length = containerLength(whole.subarray(0, HEADER_BYTES), 'snapshot', file, whole.length);
  const pages = Array.from({ length: (whole.length - length) / PAGE_BYTES }, (_, i) => length + i * PAGE_BYTES)
    .map((at) => ({ at, bytes: whole.subarray(at, at + PAGE_BYTES) }))
    .filter(({ bytes }) => bytes.some((byte) => byte !== 0));
  const memory = Buffer.concat(pages.map(({ bytes }) => bytes));
  const bytes = Buffer.concat([whole.subarray(0, length), memory]);
  /** Shorter or longer than the whole by as much as `changed` is; each page that is not zero is behind its place in the container by as much as ever. */
  const write = (changed: Buffer): void => {
    const head = Math.max(changed.length - memory.length, 0);
    const moved = head - length;
    ftruncateSync(fd, 0);
    writeSync(fd, changed, 0, head, 0);
    pages.forEach(({ at }, i) => {
      const page = changed.subarray(head + i * PAGE_BYTES, head + (i + 1) * PAGE_BYTES);
      writeSync(fd, page, 0, page.length, at + moved);
    });
    ftruncateSync(fd, Math.max(whole.length + changed.length - bytes.length, 0));
  };
  const options = { nameOf: featureName, allowAltered: true, forceFeatures: true };
  return {
    bytes,
    sections: decodeContainer(whole.subarray(0, length), 'snapshot', file),
    seal: (all) => Buffer.concat([...encodeContainer('snapshot', all), memory]),
    take: (changed) =>
      bounded(async () => {
        write(changed);
        const made = restoreSnapshot(kvm, file, options);
        if (made.kind === 'refused') return `refused: ${made.reasons[0]!.code}`;
        made.machine[Symbol.dispose]();
        return 'restored';
      }),
    [Symbol.dispose]: () => {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    },
  };
}

/** An expected error is a refusal by its code; any other is a fault, and so is a run that takes too long. */
async function bounded(take: () => Promise<Ending>): Promise<Ending> {
  const start = performance.now();
  const ending = await take().catch((error: unknown): Ending => {
    if (error instanceof GuestAbiError) return `refused: ${error.code}`;
    throw error;
  });
  const ms = performance.now() - start;
  if (ms > RUN_MS) throw new Error(`took ${ms.toFixed(0)} ms`);
  return ending;
}
