/** A guest of a real QEMU with the cpu-state probe in it: commands over its serial port, records from its probe port, all else over QMP. */
import { writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type GuestAbiError, MachineError } from '../../../corpora/errors.js';
import { type VcpuObservation, vcpuObservationToJson } from '../../../corpora/observation.js';
import { encodeProbeRequest } from '../../../corpora/probe-abi.js';
import { type Reason, reason } from '../../../corpora/verdict.js';
import { wholeObservation } from '../../../guest-probes/observation.js';
import { RecordAssembler } from '../../../guest-probes/record-assembler.js';
import { makeFolder, removeFolder } from '../../ends-with-us.js';
import type { Outcome } from '../../hosts/agent/protocol.js';
import { QemuProcess } from '../../import/qemu-process.js';
import type { QemuLauncher } from '../../packages/qemu-trees.js';
import { complaintOf, withheldFeatures } from './complaints.js';
import { guestArguments, type QemuGuestSpec } from './guest-arguments.js';

/** Milliseconds for a boot with firmware, or a dump: a nested QEMU in an emulated host needs seconds. */
const DUMP_DEADLINE = 60_000;
/** Milliseconds for a state to be saved or moved: a few MiB. */
const MIGRATION_DEADLINE = 25_000;

export interface QemuGuestRequest extends QemuGuestSpec {
  readonly msrs: readonly number[];
  readonly apicIds: readonly number[];
  /** Waits for a state instead of booting. */
  readonly incoming?: boolean;
}

/** One running QEMU. Make one with `start`, dispose it. */
export class QemuGuest implements AsyncDisposable {
  readonly #qemu: QemuProcess;
  readonly #folder: string;
  readonly #servers: readonly Server[];
  readonly #serial: Socket;
  readonly #records: VcpuObservation[] = [];
  readonly #request: QemuGuestRequest;
  #broken: string | null = null;

  private constructor(
    qemu: QemuProcess,
    folder: string,
    servers: readonly Server[],
    [probe, serial]: readonly [Socket, Socket],
    request: QemuGuestRequest,
  ) {
    this.#qemu = qemu;
    this.#folder = folder;
    this.#servers = servers;
    this.#serial = serial;
    this.#request = request;
    const assembler = new RecordAssembler();
    probe.on('data', (chunk) => {
      try {
        this.#records.push(...assembler.push(chunk).map(wholeObservation));
      } catch (error) {
        this.#broken = (error as Error).message;
      }
    });
  }

  /** Throws `QemuStartError` where QEMU does not start; nothing stays. */
  static async start(launcher: QemuLauncher, request: QemuGuestRequest): Promise<QemuGuest> {
    const folder = makeFolder('guest-abi-qemu-');
    const [probe, serial] = [await listen(join(folder, 'probe')), await listen(join(folder, 'serial'))];
    const servers = [probe.server, serial.server];
    try {
      await writeFile(join(folder, 'request'), encodeProbeRequest(request));
      const qemu = await QemuProcess.start(launcher, [
        ...guestArguments(request, join(folder, 'request')),
        ...['-chardev', `socket,id=probe,path=${join(folder, 'probe')}`],
        ...['-chardev', `socket,id=commands,path=${join(folder, 'serial')}`, '-serial', 'chardev:commands'],
        ...(request.incoming ? ['-incoming', 'defer'] : []),
      ]);
      return new QemuGuest(qemu, folder, servers, [await probe.connected, await serial.connected], request);
    } catch (error) {
      for (const server of servers) server.close();
      removeFolder(folder);
      throw error;
    }
  }

  /** A path of this guest's own, gone with it. */
  place(name: string): string {
    return join(this.#folder, name);
  }

  /** Lets the guest run, and dump: the first time by booting. */
  async boot(): Promise<Outcome> {
    return (await this.#cont()) ?? this.#dump();
  }

  /** Sends command bytes to the probe, which dumps after each command. */
  async command(bytes: Uint8Array): Promise<Outcome> {
    this.#serial.write(bytes);
    return this.#dump();
  }

  /** Where a state has come: lets the guest go on, and dump. */
  async goOn(bytes: Uint8Array): Promise<Outcome> {
    return (await this.#cont()) ?? this.command(bytes);
  }

  /** Sends the state to a migration URI, the guest running until its end. A reason where that failed. */
  async migrate(uri: string): Promise<Reason | null> {
    try {
      await this.#qemu.qmp.execute('migrate', { uri });
      const complaint = await this.#untilMoved();
      return complaint === null ? null : failed(complaint);
    } catch (error) {
      return failed(await this.#why(error));
    }
  }

  /** Sends the state as it is now, while the guest goes on and does `bytes`; gives what it dumps, or why the state was not sent. */
  async saveWhileRunning(uri: string, bytes: Uint8Array): Promise<Outcome | Reason> {
    const { qmp } = this.#qemu;
    try {
      const capabilities = [{ capability: 'background-snapshot', state: true }];
      await qmp.execute('migrate-set-capabilities', { capabilities });
      // QEMU stops the guest for its devices' state; what is done before it runs again would be in the snapshot too.
      const resumed = qmp.waitFor('RESUME', MIGRATION_DEADLINE);
      await qmp.execute('migrate', { uri });
      const complaint = await Promise.race([resumed.then(() => null), this.#untilMoved()]);
      if (complaint !== null) return failed(complaint);
      const outcome = await this.command(bytes);
      const end = await this.#untilMoved();
      return end === null ? outcome : failed(end);
    } catch (error) {
      return failed(await this.#why(error));
    }
  }

  /** Takes a state from a migration URI: answers at once. A reason where QEMU does not. */
  async listen(uri: string): Promise<Reason | null> {
    try {
      await this.#qemu.qmp.execute('migrate-incoming', { uri });
      return null;
    } catch (error) {
      return failed(await this.#why(error));
    }
  }

  /**
   * Waits until the state is there. A reason where it did not come, or was not taken. Where its source `gaveUp` only what has begun to come is waited for: QEMU
   * ends by itself as soon as it has read the end of it, and says what it did not take.
   */
  async arrived(gaveUp = false): Promise<Reason | null> {
    try {
      const until = performance.now() + MIGRATION_DEADLINE;
      while (performance.now() < until) {
        const { status } = (await this.#qemu.qmp.execute('query-status')) as { status: string };
        if (status !== 'inmigrate') return null;
        if (gaveUp && !(await this.#isComing())) return failed('no state came: its source gave up');
        await sleep(10);
      }
      return failed(`no whole state within ${MIGRATION_DEADLINE} ms`);
    } catch (error) {
      return failed(await this.#why(error));
    }
  }

  /** True once somebody has connected: until then it only listens, which QEMU 5.2 does not say. */
  async #isComing(): Promise<boolean> {
    const { status = 'setup' } = (await this.#qemu.qmp.execute('query-migrate')) as { status?: string };
    return status !== 'setup' && status !== 'none';
  }

  /** A command of QEMU's human monitor; what it answers is empty where all went well. */
  async monitor(line: string): Promise<string> {
    return String(await this.#qemu.qmp.execute('human-monitor-command', { 'command-line': line }, 60_000)).trim();
  }

  /** A QMP command. */
  execute(command: string, args: object = {}): Promise<unknown> {
    return this.#qemu.qmp.execute(command, args);
  }

  /** Makes a qcow2 image of `bytes` and gives it to QEMU under this node name. */
  async createDisk(file: string, node: string, bytes = 2 ** 20): Promise<void> {
    await this.#job('blockdev-create', { driver: 'file', filename: file, size: 0 });
    await this.execute('blockdev-add', { driver: 'file', filename: file, 'node-name': `${node}-file` });
    await this.#job('blockdev-create', { driver: 'qcow2', file: `${node}-file`, size: bytes });
    await this.execute('blockdev-add', { driver: 'qcow2', file: `${node}-file`, 'node-name': node });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#serial.destroy();
    for (const server of this.#servers) server.close();
    await this.#qemu[Symbol.asyncDispose]();
    removeFolder(this.#folder);
  }

  async #job(command: string, options: object): Promise<void> {
    const id = 'create';
    await this.execute(command, { 'job-id': id, options });
    for (;;) {
      const jobs = (await this.execute('query-jobs')) as { id: string; status: string; error?: string }[];
      const job = jobs.find((one) => one.id === id);
      if (job?.status !== 'concluded') await sleep(5);
      else {
        await this.execute('job-dismiss', { id });
        if (job.error) throw new MachineError('qemu-disk', `QEMU: ${job.error}`);
        return;
      }
    }
  }

  /** Null once the state has gone; else what QEMU says. */
  async #untilMoved(): Promise<string | null> {
    const until = performance.now() + MIGRATION_DEADLINE;
    while (performance.now() < until) {
      const { status, ...rest } = (await this.#qemu.qmp.execute('query-migrate')) as Record<string, string>;
      if (status === 'completed') return null;
      if (status === 'failed' || status === 'cancelled') return rest['error-desc'] ?? `migration ${status}`;
      await sleep(5);
    }
    return `migration does not end within ${MIGRATION_DEADLINE} ms`;
  }

  /** Null where the guest runs now; a QEMU may end before it has said so. */
  async #cont(): Promise<Outcome | null> {
    try {
      await this.#qemu.qmp.execute('cont');
      return null;
    } catch (error) {
      if ((error as GuestAbiError).code !== 'qmp-lost') throw error;
      return { kind: 'crashed', message: await this.#why(error) };
    }
  }

  async #dump(): Promise<Outcome> {
    const { cpus } = this.#request.smp;
    const until = performance.now() + DUMP_DEADLINE;
    while (this.#records.length < cpus) {
      if (this.#broken) return { kind: 'crashed', message: this.#broken };
      if (!this.#qemu.alive) return { kind: 'crashed', message: await this.#why(null) };
      if (performance.now() > until)
        return { kind: 'hung', message: `QEMU's guest did not dump in ${DUMP_DEADLINE} ms` };
      await sleep(2);
    }
    const seen = this.#records.splice(0, cpus).map(vcpuObservationToJson);
    return {
      kind: 'running',
      vcpus: structuredClone(seen) as never,
      ...{ altered: [], readBack: [] },
      forced: withheldFeatures(this.#qemu.said),
    };
  }

  /** What QEMU said where it is gone, else the error's words. */
  async #why(error: unknown): Promise<string> {
    if (!this.#qemu.alive || (error as GuestAbiError | null)?.code === 'qmp-lost') await this.#qemu.ending();
    if (!this.#qemu.alive) return complaintOf(this.#qemu.said, this.#qemu.ended).message;
    return (error as Error).message;
  }
}

const failed = (message: string): Reason =>
  reason({ code: 'qemu-migration', step: 'migrate', layer: 'monitor', message: `QEMU: ${message}` });

async function listen(path: string): Promise<{ server: Server; connected: Promise<Socket> }> {
  const server = createServer();
  const connected = new Promise<Socket>((resolve) => {
    server.once('connection', (socket) => {
      socket.on('error', () => {});
      resolve(socket);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return { server, connected };
}
