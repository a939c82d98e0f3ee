/**
 * `vmm run`: boots the user's own image, or goes on from a snapshot, with the serial port on stdin and stdout and QMP on a socket. What a guest
 * does not need to begin is loaded when it runs: a restore is to take no longer than it must.
 */
import { readFileSync } from 'node:fs';
import { EXIT, type ExitCode, InputError } from '../../corpora/errors.js';
import { featureName } from '../../corpora/features.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { splitModuleList } from '../../reference-vmm/boot/boot.js';
import type { BootOptions } from '../../reference-vmm/boot/plan.js';
import { ControlledMachine, type MachineEnd } from '../../reference-vmm/control/controlled-machine.js';
import { QmpServer } from '../../reference-vmm/control/qmp-server.js';
import type { MachineMaker } from '../../reference-vmm/control/snapshot-commands.js';
import { hostCapabilities } from '../../reference-vmm/kvm/capabilities.js';
import type { Kvm } from '../../reference-vmm/kvm/kvm.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { LiveMachine } from '../../reference-vmm/live-machine.js';
import type { TravelFacts } from '../../reference-vmm/migration/offer.js';
import { rehearseSending } from '../../reference-vmm/migration/rehearsal.js';
import { parseMigrationUri } from '../../reference-vmm/migration/uri.js';
import { type Creation, Machine } from '../../reference-vmm/monitor.js';
import type { MachineCore } from '../../reference-vmm/snapshot/machine-state.js';
import { type RestoreOptions, restoreSnapshot } from '../../reference-vmm/snapshot/restore.js';
import { PACKAGE_VERSION } from '../version.js';
import { type CommonOptions, printJson, warn, writeOut } from './output.js';
import { socketOf } from './qmp-option.js';

export interface VmmRunOptions extends CommonOptions {
  readonly machine?: string;
  readonly cpu?: string;
  readonly smp: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  /** A snapshot to go on from. */
  readonly restore?: string;
  readonly lazy?: boolean;
  /** Where the guest comes from, as QEMU's `-incoming`; `defer` waits for QMP. */
  readonly incoming?: string;
  /** Folder of certificates for it. */
  readonly tlsCreds?: string;
  /** MiB. */
  readonly memory: number;
  /** Seconds. */
  readonly timeout?: number;
  readonly allowAltered?: boolean;
  readonly forceFeatures?: boolean;
  readonly name?: string;
  /** As QEMU's `-qmp`. */
  readonly qmp?: string;
  /** As QEMU's `-S`. */
  readonly paused?: boolean;
}

interface End {
  readonly event: string;
  readonly code: number | null;
  readonly message: string | null;
}

const SHUTDOWN = 0;
/** Seconds; a machine with a control socket has no such end. */
const TIMEOUT = 60;

/** Runs the guest to its end. Exit code: the guest's debug-exit code 0, or the owner's `quit`, gives 0, a CPU that this host does not give 3, anything else 1. */
export async function vmmRun(options: VmmRunOptions): Promise<ExitCode> {
  const socket = options.qmp === undefined ? null : socketOf(options.qmp);
  const boot = bootOf(options);
  const serial: number[] = [];
  const make: RestoreOptions = {
    ...{ nameOf: featureName, ...(boot && { boot }) },
    ...{ allowAltered: options.allowAltered ?? false, forceFeatures: options.forceFeatures ?? false },
    onSerial: (byte) => {
      if (options.json) serial.push(byte);
      else writeOut(Uint8Array.of(byte));
    },
  };
  // A folder that is not there is told before a guest runs.
  if (options.corpora) (await import('./pairs.js')).definitionsOf(options.corpora);
  const identityOf = await identityMaker(options);
  using kvm = openKvm();
  const created = options.restore
    ? restoreSnapshot(kvm, options.restore, { ...make, lazy: options.lazy ?? false })
    : Machine.create(kvm, identityOf(kvm), { ...make, memoryBytes: options.memory * 1024 * 1024 });
  if (created.kind === 'refused') return refused(created, options);
  const { machine } = created;
  if (!options.restore && !options.incoming) machine.start();
  // Before there is anything that would stay behind.
  const interrupted = interruption();
  await using server = socket === null ? null : await QmpServer.listen(socket, PACKAGE_VERSION);
  using controlled = new ControlledMachine(
    new LiveMachine(machine),
    server?.emit ?? (() => undefined),
    options.incoming ? 'inmigrate' : 'prelaunch',
  );
  const { live } = controlled;
  const rehearsed = server && ([rehearseSending(live), live.travelFacts()] as const);
  tellOfTripleFault(live);
  if (!options.incoming && !options.paused) controlled.cont();
  await using _ = server && (await control(server, controlled, options, { kvm, options: make }));
  if (options.incoming) await awaitGuest(controlled, options);
  // Where it fails, the guest runs all the same.
  else if (rehearsed) void prepareToLeave(rehearsed, options).catch(() => undefined);
  const end = await runToEnd(controlled, options.timeout ?? (server ? null : TIMEOUT), interrupted);
  const { pair } = machine.identity;
  if (options.json) printJson('vmm-run', { pair, ...end, serial: Buffer.from(serial).toString('latin1') });
  else if (end.message) warn(end.message);
  return end.event === 'quit' || (end.event === 'exit' && end.code === SHUTDOWN) ? EXIT.holds : EXIT.broken;
}

/** Says where the guest was when it reset itself without asking: once, for it may do so for ever. */
function tellOfTripleFault(live: LiveMachine): void {
  const stop = live.onEvent((event) => {
    if (event.kind !== 'reset' || !event.crash) return;
    warn(`the guest was reset: ${event.crash.message}`);
    stop();
  });
}

/** Throws `InputError` where the options name neither an image nor a snapshot, before a machine is made. */
function bootOf({ kernel, initrd, append, restore, lazy, incoming, tlsCreds, qmp }: VmmRunOptions): BootOptions | null {
  if (lazy && !restore) throw new InputError('no-restore', '--lazy belongs to --restore FILE');
  if (incoming !== undefined && restore !== undefined)
    throw new InputError('two-guests', '--incoming and --restore each bring a guest: name one');
  if (tlsCreds !== undefined && incoming === undefined)
    throw new InputError('no-incoming', '--tls-creds belongs to --incoming URI');
  if (incoming === 'defer' && qmp === undefined)
    throw new InputError('no-incoming', '--incoming defer waits for QMP: give --qmp unix:PATH too');
  if (incoming !== undefined && incoming !== 'defer') parseMigrationUri(incoming);
  if (kernel === undefined) {
    if (restore === undefined && incoming === undefined)
      throw new InputError(
        'nothing-to-run',
        'name an image: --kernel FILE, a snapshot: --restore FILE, or --incoming URI',
      );
    return null;
  }
  return {
    image: { name: kernel, bytes: readInput(kernel) },
    modules: splitModuleList(initrd ?? '').map(({ file, text }) => ({ text, bytes: readInput(file) })),
    append: append ?? '',
  };
}

async function control(
  server: QmpServer,
  machine: ControlledMachine,
  { name, corpora }: VmmRunOptions,
  maker: MachineMaker,
): Promise<AsyncDisposable> {
  const { controlMachine } = await import('../../reference-vmm/control/control.js');
  const { definitionsOf } = await import('./pairs.js');
  return controlMachine(server, machine, { name: name ?? null, definitions: definitionsOf(corpora), maker });
}

/** What a migration or a live save would else begin with, done while the guest runs. A mapped snapshot cannot be saved live. */
async function prepareToLeave(
  [core, facts]: readonly [MachineCore, TravelFacts],
  { lazy }: VmmRunOptions,
): Promise<void> {
  await (await import('../../reference-vmm/migration/rehearse-link.js')).rehearseLink(core, facts);
  if (!lazy) (await import('../../reference-vmm/snapshot/save-thread.js')).prepareLiveSave();
}

/** Says on stderr where the guest is awaited: the port of `tcp:HOST:0` is known only then. */
async function awaitGuest(machine: ControlledMachine, { incoming, tlsCreds = '' }: VmmRunOptions): Promise<void> {
  const { takeIncoming } = await import('../../reference-vmm/control/incoming.js');
  if (incoming !== 'defer') warn(`waiting for a guest at ${await takeIncoming(machine, incoming!, tlsCreds)}`);
}

/** Names are looked up at once; what follows the host, once there is one. A snapshot brings its own identity. */
async function identityMaker({
  machine,
  cpu,
  smp,
  corpora,
  restore,
}: VmmRunOptions): Promise<(kvm: Kvm) => CpuIdentity> {
  if (restore !== undefined) {
    if (machine !== undefined || cpu !== undefined)
      throw new InputError('restore-has-pair', '--restore brings machine type and CPU: leave --machine and --cpu away');
    return () => {
      throw new Error('a snapshot has its identity');
    };
  }
  const { definitionsOf, followsHost, onePair, resolvePair } = await import('./pairs.js');
  const definitions = definitionsOf(corpora);
  const request = onePair(
    { ...(machine && { machine: [machine] }), ...(cpu && { cpu: [cpu] }), smp: [smp] },
    definitions,
  );
  const fixed = followsHost(request) ? null : resolvePair(request, definitions);
  return (kvm: Kvm) => fixed ?? resolvePair(request, definitions, hostCapabilities(kvm));
}

async function refused(
  { reasons }: Extract<Creation, { kind: 'refused' }>,
  { json, restore, machine, cpu }: VmmRunOptions,
): Promise<ExitCode> {
  const { findingLines } = await import('../../reports/reasons.js');
  const what = restore ?? `${machine}/${cpu}`;
  if (json) printJson('vmm-run', { pair: restore ? null : what, refused: reasons });
  else
    warn(
      `refused to run ${what}:\n${findingLines(reasons)
        .map((line) => `    ${line}`)
        .join('\n')}`,
    );
  return EXIT.cannot;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** The end that the first signal makes; a second one ends us where we are. */
const interruption = (): Promise<End> =>
  new Promise((resolve) => {
    for (const signal of SIGNALS)
      process.once(signal, () => resolve({ event: 'interrupted', code: null, message: 'interrupted' }));
  });

/** What stdin brings goes to the serial port. `timeout` in seconds; null for none. */
async function runToEnd(machine: ControlledMachine, timeout: number | null, interrupted: Promise<End>): Promise<End> {
  const type = (bytes: Buffer): void => machine.live.sendSerial(bytes);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<End>((resolve) => {
    if (timeout !== null) timer = setTimeout(() => resolve(timedOut(machine, timeout)), timeout * 1000);
  });
  process.stdin.on('data', type);
  try {
    return await Promise.race([machine.ended.then(endOf), interrupted, late]);
  } finally {
    clearTimeout(timer);
    for (const signal of SIGNALS) process.removeAllListeners(signal);
    process.stdin.off('data', type).pause();
  }
}

function timedOut({ live }: ControlledMachine, timeout: number): End {
  live.pause();
  const event = live.machine.run({ timeoutMs: 0 });
  const where = event.kind === 'timed-out' ? event.crash.message : event.kind;
  return { event: 'timed-out', code: null, message: `the guest ran for ${timeout} s: ${where}` };
}

/** Throws the monitor's own error where that ended the guest. */
function endOf(end: MachineEnd): End {
  if (end.kind === 'failed' && end.error) throw end.error;
  if (end.kind === 'exit') return { event: 'exit', code: end.code, message: null };
  return { event: end.kind, code: null, message: 'message' in end ? end.message : null };
}

/** Throws `InputError` `unreadable-file`. */
function readInput(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new InputError('unreadable-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      given: file,
    });
  }
}
