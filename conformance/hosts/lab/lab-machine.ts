/** One booted lab host: a QEMU that emulates the CPU, a kernel with a real KVM, and the switchboard's stream to it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { MachineError } from '../../../corpora/errors.js';
import { endsWithUs, makeFolder, removeFolder } from '../../ends-with-us.js';
import type { QemuLauncher } from '../../packages/qemu-trees.js';
import { caughtInterrupt } from '../child-agent.js';
import type { HostImages } from './host-images.js';
import { PORT_NAME } from './init-script.js';
import type { LabKernel } from './kernels.js';
import { cpuArgument, type LabCpu } from './lab-cpus.js';
import type { Opening } from './switchboard.js';
import { type Conversation, Switchboard } from './switchboard-client.js';

export interface LabMachineSpec {
  readonly kernel: LabKernel;
  readonly initrd: string;
  readonly images: HostImages;
  readonly cpu: LabCpu;
  /** QEMU 10 or newer: older emulators panic newer kernels. */
  readonly qemu: QemuLauncher;
  /** Milliseconds until the host must be up; default 120 s. */
  readonly deadline?: number;
  /** More of QEMU's arguments and of the kernel's command line, for tests that break a host. */
  readonly more?: { readonly arguments: readonly string[]; readonly commandLine: string };
}

/** MiB of memory of a lab host. */
const MEMORY_MIB = 512;

/** The bound of the emulator's translated code, in MiB. Where it is full all is thrown away and translated anew: of 128, a boot and one minute's cells fill all. */
const TRANSLATIONS_MIB = 256;

/** MiB that one lab host may come to take: its memory, translations, and QEMU itself. */
export const HOST_MIB = MEMORY_MIB + TRANSLATIONS_MIB + 120;

const BOOT_DEADLINE = 120_000;

/** Lines of the console that are kept. */
const CONSOLE_LINES = 100;

/** How a lab host ended. */
export interface LabEnd {
  /** True where `stop` ended it. */
  readonly wanted: boolean;
  readonly message: string;
}

/** A running lab host. Disposing it leaves no process, socket or file. */
export class LabMachine implements AsyncDisposable {
  readonly spec: LabMachineSpec;
  /** `6.12.107+deb13/EPYC`. */
  readonly name: string;
  /** Milliseconds from start to the switchboard's hello. */
  readonly bootMs: number;
  /** Resolves when the host has ended, however it did. */
  readonly ended: Promise<LabEnd>;
  readonly #parts: Parts;

  private constructor(spec: LabMachineSpec, parts: Parts, bootMs: number) {
    this.spec = spec;
    this.name = machineName(spec);
    this.#parts = parts;
    this.bootMs = bootMs;
    this.ended = parts.exit.then((how) => ({ wanted: parts.stopping, message: `${this.name} ${how}` }));
  }

  /**
   * Boots a host. Throws `MachineError` `lab-boot-failed` (QEMU or the kernel ended) or `lab-boot-hung`, with the
   * console's last lines.
   */
  static async start(spec: LabMachineSpec, again = true): Promise<LabMachine> {
    const begin = performance.now();
    const parts = await launch(spec);
    try {
      const stream = await beforeExit(parts, parts.connection);
      parts.switchboard = new Switchboard(stream);
      const hello = await withDeadline(beforeExit(parts, parts.switchboard.hello), spec.deadline ?? BOOT_DEADLINE);
      if (hello.release !== spec.kernel.release) {
        throw new MachineError(
          'lab-kernel',
          `${spec.kernel.vmlinuz} is kernel ${hello.release}, not ${spec.kernel.release}`,
        );
      }
    } catch (error) {
      await parts.end();
      if (again && caughtInterrupt(parts.child)) return LabMachine.start(spec, false);
      throw bootFailure(spec, error, parts.console.words());
    }
    return new LabMachine(spec, parts, Math.round(performance.now() - begin));
  }

  /** Begins a conversation with a new agent, or with a unix socket on the host. */
  open(opening: Opening): Conversation {
    return this.#parts.switchboard!.open(opening);
  }

  /** The console's last lines, oldest first. */
  get console(): string[] {
    return this.#parts.console.last(CONSOLE_LINES);
  }

  /** What the console said of a failure, in one line. */
  lastWords(): string {
    return this.#parts.console.words();
  }

  /** Process id of QEMU. */
  get pid(): number {
    return this.#parts.child.pid!;
  }

  get alive(): boolean {
    return !this.#parts.over;
  }

  /** Ends the host at once. */
  async stop(): Promise<void> {
    this.#parts.stopping = true;
    await this.#parts.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

const machineName = (spec: LabMachineSpec): string => `${spec.kernel.id}/${spec.cpu.name}`;

/** What a boot consists of, so that every path can end all of it. */
interface Parts {
  readonly child: ChildProcess;
  readonly console: ConsoleTail;
  /** QEMU's connection to the stream's socket. */
  readonly connection: Promise<Socket>;
  /** Says how QEMU ended. */
  readonly exit: Promise<string>;
  switchboard: Switchboard | null;
  over: boolean;
  stopping: boolean;
  end(): Promise<void>;
}

async function launch(spec: LabMachineSpec): Promise<Parts> {
  const folder = makeFolder('guest-abi-lab-');
  const server = createServer();
  try {
    const path = join(folder, 'stream');
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    return assemble(spec, folder, server, path);
  } catch (error) {
    server.close();
    removeFolder(folder);
    throw error;
  }
}

function assemble(spec: LabMachineSpec, folder: string, server: Server, path: string): Parts {
  const [program, ...args] = spec.qemu.argv(qemuArguments(spec, path));
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...spec.qemu.env },
    // QEMU ends at an interrupt; whoever interrupts the runner on its terminal wants the cells that are under way to end well.
    detached: true,
  });
  endsWithUs(child);
  const sockets: Socket[] = [];
  const connection = new Promise<Socket>((resolve) => {
    server.once('connection', (socket) => {
      sockets.push(socket);
      socket.on('error', () => {});
      resolve(socket);
    });
  });
  const exit = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`did not start: ${error.message}`));
    child.once('close', (status, signal) => resolve(signal ? `was ended by ${signal}` : `ended (status ${status})`));
  });
  const parts: Parts = {
    child,
    console: new ConsoleTail(child),
    connection,
    exit,
    switchboard: null,
    over: false,
    stopping: false,
    end: async () => {
      if (!parts.over) child.kill('SIGKILL');
      await exit;
      await cleaned;
    },
  };
  const cleaned = exit.then(async () => {
    parts.over = true;
    parts.switchboard?.lose();
    for (const socket of sockets) socket.destroy();
    server.close();
    removeFolder(folder);
  });
  return parts;
}

function qemuArguments(spec: LabMachineSpec, stream: string): string[] {
  const disk = (file: string, id: string): string[] => [
    '-drive',
    `if=none,id=${id},format=raw,readonly=on,file=${file.replaceAll(',', ',,')}`,
    '-device',
    `virtio-blk-pci,drive=${id}`,
  ];
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'q35', '-accel', `tcg,tb-size=${TRANSLATIONS_MIB}`, '-cpu', cpuArgument(spec.cpu)],
    ...['-smp', '1', '-m', String(MEMORY_MIB)],
    ...['-kernel', spec.kernel.vmlinuz, '-initrd', spec.initrd],
    ...['-append', `console=ttyS0 panic=-1 loglevel=4 nokaslr ${spec.more?.commandLine ?? ''}`],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=stream,path=${stream}`, '-device', 'virtio-serial-pci'],
    ...['-device', `virtserialport,chardev=stream,name=${PORT_NAME}`],
    ...disk(spec.images.system, 'system'),
    ...disk(spec.images.package, 'package'),
    ...(spec.images.qemus === undefined ? [] : disk(spec.images.qemus, 'qemus')),
    ...(spec.more?.arguments ?? []),
  ];
}

/** QEMU says of each feature of a model that its emulator has not: what a lab CPU lacks shows in its capture. */
const EXPECTED_WARNING = /warning: TCG doesn't support requested feature/;

/** How a kernel, our init script or QEMU announces that something ends. */
const CAUSE = /Kernel panic|BUG:|Oops|Out of memory|guest-abi lab:|qemu-system-x86_64:/;

/** The last lines of a console, and what QEMU itself complained of. */
class ConsoleTail {
  readonly #lines: string[] = [''];

  constructor(child: ChildProcess) {
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    }
  }

  #take(text: string): void {
    const [first, ...rest] = text.replaceAll('\r', '').split('\n');
    this.#lines.push(`${this.#lines.pop()}${first}`, ...rest);
    this.#lines.splice(0, this.#lines.length - CONSOLE_LINES - 1);
  }

  /** For messages: the line that names a cause, where there is one, or the last lines. */
  words(): string {
    const lines = this.last(CONSOLE_LINES);
    const causes = lines.filter((line) => CAUSE.test(line));
    return (causes.length ? causes.slice(0, 3) : lines.slice(-5)).map((line) => line.trim()).join(' | ');
  }

  last(count: number): string[] {
    return this.#lines.filter((line) => line.trim() !== '' && !EXPECTED_WARNING.test(line)).slice(-count);
  }
}

/** Fails as soon as QEMU ends. */
async function beforeExit<T>(parts: Parts, work: Promise<T>): Promise<T> {
  const exited = parts.exit.then((how) => {
    throw new MachineError('lab-boot-failed', how);
  });
  exited.catch(() => {});
  return Promise.race([work, exited]);
}

async function withDeadline<T>(work: Promise<T>, deadline: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new MachineError('lab-boot-hung', `was not up after ${deadline / 1000} s`)),
      deadline,
    );
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

function bootFailure(spec: LabMachineSpec, error: unknown, console: string): unknown {
  if (!(error instanceof MachineError)) return error;
  const words = console ? `; console: ${console}` : '';
  return new MachineError(error.code, `lab host ${machineName(spec)} ${error.message}${words}`, {
    given: machineName(spec),
    cause: error,
  });
}
