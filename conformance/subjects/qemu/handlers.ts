/** What an agent does with guests of a QEMU on its host: the protocol's operations, by QMP and migration streams. */
import { readFileSync, statSync } from 'node:fs';
import { InputError, MachineError } from '../../../corpora/errors.js';
import { parseHex32 } from '../../../corpora/hex.js';
import { msrFromJson } from '../../../corpora/identity.js';
import { formatCpu, parsePair } from '../../../corpora/pair.js';
import { COMMAND, encodeWrite } from '../../../corpora/probe-abi.js';
import { type Reason, reason } from '../../../corpora/verdict.js';
import { inFolder } from '../../hosts/agent/made-folders.js';
import { outcomeText } from '../../hosts/agent/outcome-text.js';
import type { Outcome, Params } from '../../hosts/agent/protocol.js';
import { QemuStartError } from '../../import/qemu-process.js';
import { cachedQemu, type QemuLauncher, qemuBinary } from '../../packages/qemu-trees.js';
import { complaintOf, withheldFeatures } from './complaints.js';
import { emulatorOf } from './emulator.js';
import { QemuGuest, type QemuGuestRequest } from './guest.js';
import { QBOOT } from './guest-arguments.js';
import { fileSink, sendFile } from './state-file.js';

type Realize = Params<'boot'>;

/** What a realize request says of its QEMU. */
export type QemuOfRequest = NonNullable<Realize['qemu']>;

const COMMAND_BYTE: Readonly<Record<Params<'command'>['command'], number>> = {
  dump: COMMAND.dump,
  'dump-xcr0': COMMAND.xstate,
  'reset-port': COMMAND.resetControl,
  'reset-keyboard': COMMAND.resetKeyboard,
  'triple-fault': COMMAND.tripleFault,
  init: COMMAND.init,
};

const DUMP = Uint8Array.of(COMMAND.dump);

/** Properties of ours that no QEMU knows: it takes them from its host. */
const OURS: ReadonlySet<string> = new Set(['xsave-layout', 'pmu-leaf']);

/** One guest at a time, as with the reference monitor. */
export class QemuHandlers implements AsyncDisposable {
  #guest: QemuGuest | null = null;
  readonly #launchers = new Map<string, QemuLauncher>();

  async boot(request: Realize): Promise<Outcome> {
    const guest = await this.#create(request, 'boot', false);
    return guest instanceof QemuGuest ? guest.boot() : guest;
  }

  command({ command }: Params<'command'>): Promise<Outcome> {
    return this.#running().command(Uint8Array.of(COMMAND_BYTE[command]));
  }

  writeMsr(request: Params<'write-msr'>): Promise<Outcome> {
    return this.#running().command(encodeWrite(msrFromJson(request), request.vcpu));
  }

  /** In one of QEMU's ways; the guest of `disk` goes on, with a snapshot of its disk behind it. Throws `MachineError` with QEMU's words. */
  async save({ file, way = 'file' }: Params<'save'>): Promise<{ bytes: number }> {
    const guest = this.#running();
    inFolder(file);
    if (way === 'internal') {
      await guest.createDisk(file, 'disk');
      saved(await guest.monitor('savevm guest-abi'), 'savevm');
    } else if (way === 'disk') {
      await guest.createDisk(`${file}.base`, 'disk');
      await snapshotDisk(guest, file);
    } else {
      if (way === 'disk-and-state') {
        await guest.createDisk(`${file}.base`, 'disk');
        await guest.execute('stop');
        await snapshotDisk(guest, `${file}.overlay`);
      }
      const sink = await fileSink(guest.place('state'), file);
      const why = await guest.migrate(`unix:${guest.place('state')}`);
      if (why) throw new MachineError(why.code, why.message);
      await sink.whole;
    }
    return { bytes: statSync(file).size };
  }

  /** By background-snapshot (QEMU 6.0): the guest dumps while its memory is written. */
  async saveLive({ file }: Params<'save-live'>): Promise<Outcome> {
    const guest = this.#running();
    const sink = await fileSink(guest.place('state'), inFolder(file));
    const saved = await guest.saveWhileRunning(`unix:${guest.place('state')}`, DUMP);
    if (!('kind' in saved)) return { kind: 'refused', reasons: [saved] };
    await sink.whole;
    return saved;
  }

  async restore(request: Params<'restore'>): Promise<Outcome> {
    const internal = readFileSync(request.file).subarray(0, 4).toString('latin1') === QCOW2_MAGIC;
    const guest = await this.#create(request, 'restore', !internal);
    if (!(guest instanceof QemuGuest)) return guest;
    if (internal) return this.#loadInternal(guest, request.file);
    const refused = await guest.listen(`unix:${guest.place('state')}`);
    if (refused) return this.#refuse(refused);
    // Where QEMU does not take the state it ends, and says why.
    await sendFile(request.file, guest.place('state')).catch(() => {});
    const why = await guest.arrived();
    return why ? this.#refuse(why) : guest.goOn(DUMP);
  }

  async #loadInternal(guest: QemuGuest, file: string): Promise<Outcome> {
    await guest.execute('blockdev-add', {
      driver: 'qcow2',
      file: { driver: 'file', filename: file },
      'node-name': 'disk',
    });
    const answer = await guest.monitor('loadvm guest-abi');
    if (answer)
      return this.#refuse(reason({ code: 'qemu-migration', step: 'restore', layer: 'monitor', message: answer }));
    return guest.goOn(DUMP);
  }

  async send({ socket }: Params<'send'>): Promise<Outcome | { kind: 'sent' }> {
    const why = await this.#running().migrate(`unix:${socket}`);
    if (why) return { kind: 'refused', reasons: [why] };
    await this.close();
    return { kind: 'sent' };
  }

  /** What refused the guest is told by `received`. */
  async listen(request: Params<'listen'>): Promise<Record<string, never>> {
    const guest = await this.#create(request, 'destination', true);
    if (!(guest instanceof QemuGuest)) throw notMade(guest);
    const why = await guest.listen(`unix:${inFolder(request.socket)}`);
    if (why) throw new MachineError(why.code, why.message);
    return {};
  }

  async received({ gaveUp }: Params<'received'>): Promise<Outcome> {
    const guest = this.#running();
    const why = await guest.arrived(gaveUp === true);
    return why ? this.#refuse(why) : guest.goOn(DUMP);
  }

  async close(): Promise<Record<string, never>> {
    await this.#guest?.[Symbol.asyncDispose]();
    this.#guest = null;
    return {};
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #create(request: Realize, step: string, incoming: boolean): Promise<QemuGuest | Outcome> {
    await this.close();
    const qemu = request.qemu!;
    const launcher = await this.#launcher(qemu.binary);
    try {
      // Its threads end by an assertion where a vCPU sends INIT to itself (accel/tcg/tcg-cpus.c, tcg_cpu_thread_fn).
      const oneThread = emulatorOf(launcher.version) === '5.2';
      this.#guest = await QemuGuest.start(launcher, { ...guestRequest(request, qemu), incoming, oneThread });
      return this.#guest;
    } catch (error) {
      if (!(error instanceof QemuStartError)) throw error;
      return notStarted(error, `QEMU ${launcher.version}`, step);
    }
  }

  async #launcher(name: string): Promise<QemuLauncher> {
    const known = this.#launchers.get(name);
    if (known) return known;
    const launcher = name.startsWith('/') ? await qemuBinary(name) : await cachedQemu(name);
    if (!launcher) throw new MachineError('qemu-missing', `QEMU ${name} is not on this host`, { given: name });
    this.#launchers.set(name, launcher);
    return launcher;
  }

  async #refuse(why: Reason): Promise<Outcome> {
    await this.close();
    return { kind: 'refused', reasons: [why] };
  }

  #running(): QemuGuest {
    if (!this.#guest) throw new InputError('no-guest', 'this agent runs no guest');
    return this.#guest;
  }
}

/** One that was killed, or never answered, has refused nothing. */
function notStarted(error: QemuStartError, who: string, step: string): Outcome {
  if (error.ended === '') return { kind: 'hung', message: error.message };
  if (complaintOf(error.said, error.ended).code === 'qemu-killed') return { kind: 'crashed', message: error.message };
  return { kind: 'refused', reasons: startReasons(error, who, step) };
}

/** One reason for what ended QEMU, and one for each feature that it was asked for and had not. */
function startReasons({ said, ended }: QemuStartError, who: string, step: string): Reason[] {
  const { code, message } = complaintOf(said, ended);
  const refused = (text: string, feature: string | null): Reason =>
    reason({ code, step, layer: 'monitor', feature, message: `${who}: ${text}` });
  const features = code === 'qemu-enforce' ? withheldFeatures(said) : [];
  return [
    refused(message, null),
    ...features.map((one) => refused(`no ${one}`, /\.([\w.-]+) \[bit \d+\]$/.exec(one)?.[1] ?? null)),
  ];
}

const QCOW2_MAGIC = 'QFI\xfb';

/** The guest's machine as QEMU is told it: our own dimensions left out, the vendor pinned under KVM, which else shows its host's. */
function guestRequest(
  { identity, msrs, forceFeatures, smallFirmware }: Realize,
  { accel }: QemuOfRequest,
): QemuGuestRequest {
  const { machine, cpu } = parsePair(identity.pair);
  const options = cpu.options.filter(({ name }) => !OURS.has(name));
  // `base` has none, and QEMU takes no empty one.
  const pinned = accel === 'kvm' && identity.vendor !== '' && !options.some(({ name }) => name === 'vendor');
  const missing = accel === 'tcg' || forceFeatures ? 'x-force-features=on' : 'enforce';
  return {
    machine,
    cpu: `${formatCpu({ ...cpu, options })}${pinned ? `,vendor=${identity.vendor}` : ''},${missing}`,
    smp: identity.smp,
    accel,
    ...(smallFirmware && { firmware: QBOOT }),
    msrs: msrs.map(parseHex32),
    apicIds: identity.vcpus.slice(1).map(({ apicId }) => apicId),
  };
}

/** Everything that is written to the disk from now on goes to `overlay`. */
const snapshotDisk = (guest: QemuGuest, overlay: string): Promise<unknown> =>
  guest.execute('blockdev-snapshot-sync', {
    ...{ 'node-name': 'disk', 'snapshot-file': overlay, 'snapshot-node-name': 'overlay', format: 'qcow2' },
  });

function saved(answer: string, what: string): void {
  if (answer) throw new MachineError('qemu-snapshot', `QEMU ${what}: ${answer}`);
}

/** Of a guest that was not made. */
const notMade = (outcome: Outcome): MachineError =>
  outcome.kind === 'refused'
    ? new MachineError(outcome.reasons[0]!.code, outcome.reasons[0]!.message)
    : new MachineError(outcome.kind, outcomeText(outcome));
