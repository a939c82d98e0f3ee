/** A link of a live migration on which the state of vCPUs is written otherwise, under checksums that hold: what a source sends that is wrong. */
import { connect, createServer, type Socket } from 'node:net';
import { Checksum, HEADER_BYTES, SECTION_HEADER_BYTES } from '../../reference-vmm/snapshot/container.js';
import { SECTION } from '../../reference-vmm/snapshot/machine-state.js';

/** What becomes of the JSON of a vCPU. */
export type RewriteVcpu = (payload: Buffer) => Buffer;

/** Listens at the unix socket `at`, and passes on to the one at `to` whatever comes; back from there all as it is. */
export async function relay(at: string, to: string, rewrite: RewriteVcpu): Promise<AsyncDisposable> {
  const server = createServer((source) => {
    const destination = connect(to);
    const end = (): void => {
      source.destroy();
      destination.destroy();
    };
    for (const side of [source, destination]) side.on('error', end);
    destination.pipe(source);
    passOn(source, destination, rewrite).catch(end);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(at, resolve));
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
}

async function passOn(source: Socket, destination: Socket, rewrite: RewriteVcpu): Promise<void> {
  let checksum: Checksum | null = null;
  let waiting = Buffer.alloc(0);
  const take = (length: number): Buffer => {
    const taken = waiting.subarray(0, length);
    waiting = waiting.subarray(length);
    return taken;
  };
  for await (const chunk of source) {
    waiting = Buffer.concat([waiting, chunk as Buffer]);
    if (!checksum) {
      if (waiting.length < HEADER_BYTES) continue;
      const header = take(HEADER_BYTES);
      checksum = new Checksum(header);
      destination.write(header);
    }
    while (waiting.length >= SECTION_HEADER_BYTES && waiting.length >= sectionBytes(waiting)) {
      const section = take(sectionBytes(waiting));
      const type = section.readUInt32LE(0);
      const payload = section.subarray(SECTION_HEADER_BYTES);
      const passed = type === SECTION.vcpu ? rewrite(payload) : payload;
      destination.write(checksum.seal(type, passed));
      destination.write(passed);
    }
  }
  destination.end();
}

const sectionBytes = (header: Buffer): number => SECTION_HEADER_BYTES + Number(header.readBigUInt64LE(8));
