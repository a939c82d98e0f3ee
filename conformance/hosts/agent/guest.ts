/** The one guest of an agent: a machine of the reference monitor with the cpu-state probe in it, or the witness. */

import { featureName } from '../../../corpora/features.js';
import { hex64, parseHex32 } from '../../../corpora/hex.js';
import { type CpuIdentity, identityFromJson, type MsrValue, type VcpuIdentity } from '../../../corpora/identity.js';
import { Kept } from '../../../corpora/kept.js';
import { type VcpuObservation, vcpuObservationToJson } from '../../../corpora/observation.js';
import { COMMAND, encodeProbeRequest, encodeWrite } from '../../../corpora/probe-abi.js';
import type { Reason } from '../../../corpora/verdict.js';
import { probeImage, probeImagePath } from '../../../guest-probes/images.js';
import { decodeRecord } from '../../../guest-probes/observation.js';
import { changeText, decodeWitness, isWitnessRecord } from '../../../guest-probes/witness-record.js';
import type { BootImage, BootOptions } from '../../../reference-vmm/boot/plan.js';
import type { Kvm } from '../../../reference-vmm/kvm/kvm.js';
import { prepareThreads } from '../../../reference-vmm/kvm/vcpu-threads.js';
import { type LiveEvent, LiveMachine } from '../../../reference-vmm/live-machine.js';
import { type Creation, Machine, type MachineEvent, runAsync } from '../../../reference-vmm/monitor.js';
import type { MachineState } from '../../../reference-vmm/snapshot/machine-state.js';
import { restoreSnapshot } from '../../../reference-vmm/snapshot/restore.js';
import { witnessBoot } from '../../witness.js';
import type { Outcome, Params } from './protocol.js';

/** For one vCPU's dump, which takes milliseconds, in a nested and emulated host a second; a guest that needs more hangs. */
export const DUMP_DEADLINE_MS = 20_000;

/** Bytes a second: so few that the probe's dump falls into its save. */
const LIVE_SAVE_BANDWIDTH = 1024 * 1024;

type Realize = Pick<Params<'boot'>, 'allowAltered' | 'forceFeatures' | 'msrs' | 'witness' | 'memory'>;
type Created = Extract<Creation, { kind: 'created' }>;
type CommandName = Params<'command'>['command'];

const COMMAND_BYTE: Readonly<Record<CommandName, number>> = {
  dump: COMMAND.dump,
  'dump-xcr0': COMMAND.xstate,
  'reset-port': COMMAND.resetControl,
  'reset-keyboard': COMMAND.resetKeyboard,
  'triple-fault': COMMAND.tripleFault,
  init: COMMAND.init,
};

type ResetEvent = Extract<MachineEvent, { kind: 'reset' }>;

/** What a command makes the guest do. */
const RESETS_BY: Readonly<Partial<Record<CommandName, ResetEvent['by']>>> = {
  'reset-port': 'reset-control',
  'reset-keyboard': 'keyboard',
  'triple-fault': 'triple-fault',
  init: 'init',
};

type WitnessedVcpu = Extract<Outcome, { kind: 'witnessed' }>['vcpus'][number];
/** What vCPUs said so far: all of one kind. */
type Seen = (VcpuObservation | WitnessedVcpu)[];

let probe: BootImage | undefined;
const probeBoots = new Kept<BootOptions>();

/** The probe with its request: one value for guests that are asked the same, which are planned once. */
function probeBoot(msrs: readonly string[], [, ...others]: readonly VcpuIdentity[]): BootOptions {
  const apicIds = others.map(({ apicId }) => apicId);
  return probeBoots.answer(`${msrs.join()};${apicIds.join()}`, () => {
    probe ??= { name: probeImagePath('cpu-state'), bytes: probeImage('cpu-state') };
    const request = encodeProbeRequest({ msrs: msrs.map(parseHex32), apicIds });
    return { image: probe, modules: [{ text: 'request', bytes: request }] };
  });
}

const MIB = 1024 * 1024;

const bootOf = ({ witness, msrs }: Realize, identity: CpuIdentity): BootOptions =>
  witness ? witnessBoot(identity, { ...witness, memoryBytes: witness.memory * MIB }) : probeBoot(msrs, identity.vcpus);

/** What `Machine.create` made, or why it refused. */
export function createGuest(
  kvm: Kvm,
  identity: CpuIdentity,
  request: Realize,
  step: string,
  arrivingMsrs: readonly number[] = [],
): Creation {
  const memory = request.witness?.memory ?? request.memory;
  return Machine.create(kvm, identity, {
    nameOf: featureName,
    boot: bootOf(request, identity),
    ...(memory && { memoryBytes: memory * MIB }),
    allowAltered: request.allowAltered,
    forceFeatures: request.forceFeatures,
    arrivingMsrs,
    step,
  });
}

/** What a snapshot holds, or why it is refused; `accept` says whether it is wanted. Throws as `restoreSnapshot` does. */
export const restoreGuest = (
  kvm: Kvm,
  request: Params<'restore'>,
  accept: (identity: CpuIdentity) => readonly Reason[],
): Creation =>
  restoreSnapshot(kvm, request.file, {
    nameOf: featureName,
    boot: bootOf(request, identityOf(request)),
    allowAltered: request.allowAltered,
    forceFeatures: request.forceFeatures,
    lazy: request.lazy ?? false,
    identity: identityOf(request),
    accept,
  });

/** A guest that was created and not refused. */
export class ProbeGuest implements Disposable {
  readonly #created: Created;
  readonly #deadlineMs: number;
  /** What came of the write that the dump under way follows. */
  #written: string | null = null;
  /** The same machine, for operations during which it runs. Between operations it stands still. */
  readonly live: LiveMachine;

  constructor(created: Created, deadlineMs = DUMP_DEADLINE_MS) {
    this.#created = created;
    this.live = new LiveMachine(created.machine);
    this.#deadlineMs = deadlineMs;
  }

  /** Boots the probe, and lets it dump. */
  async boot(): Promise<Outcome> {
    this.#created.machine.start();
    return this.#dump();
  }

  /** Sends a command; follows the guest through the reset that it asks for, and no other. */
  async command(command: CommandName): Promise<Outcome> {
    this.#created.machine.sendSerial(Uint8Array.of(COMMAND_BYTE[command]));
    return this.#dump(RESETS_BY[command]);
  }

  /** Has the guest execute WRMSR on one vCPU, or on all, and dump. */
  async writeMsr(msr: MsrValue, vcpu?: number): Promise<Outcome> {
    this.#created.machine.sendSerial(encodeWrite(msr, vcpu));
    const outcome = await this.#dump();
    this.#written = null;
    return outcome;
  }

  /** Saves the guest while it runs and dumps. Gives the dump; the file is whole then. Throws as `startLiveSave` and its `done`. */
  async saveLive(file: string): Promise<Outcome> {
    const { startLiveSave } = await import('../../../reference-vmm/snapshot/live-save.js');
    await prepareThreads(1);
    this.live.resume();
    try {
      const save = await startLiveSave(this.live, file, { bytesPerSecond: LIVE_SAVE_BANDWIDTH });
      const dumped = this.#dumpWhileItRuns();
      this.live.sendSerial(Uint8Array.of(COMMAND.dump));
      const outcome = await dumped;
      await save.done;
      return outcome;
    } finally {
      this.live.pause();
    }
  }

  saveState(): MachineState {
    return this.#created.machine.saveState();
  }

  loadState(state: MachineState): Reason[] {
    return this.#created.machine.loadState(state);
  }

  [Symbol.dispose](): void {
    this.live[Symbol.dispose]();
  }

  async #dump(resetBy?: ResetEvent['by']): Promise<Outcome> {
    const { machine } = this.#created;
    const seen: Seen = [];
    let until = performance.now() + this.#deadlineMs;
    for (let resets = 0; ; ) {
      const event = await runAsync(machine, { timeoutMs: until - performance.now() });
      if (event.kind === 'reset') {
        if (event.by !== resetBy || ++resets > 1) return ending(event);
        machine.reset();
        continue;
      }
      const outcome = this.#outcomeOf(event, seen);
      if (outcome) return outcome;
      until = performance.now() + this.#deadlineMs;
    }
  }

  /** Gathers the records of all vCPUs in `seen`; null where some are still to come. */
  #outcomeOf(event: MachineEvent, seen: Seen): Outcome | null {
    if (event.kind !== 'record') return ending(event);
    if (isWitnessRecord(event.bytes)) return this.#witnessed(event.bytes, seen);
    const { observation, cpuidCapped, write } = decodeRecord(event.bytes);
    if (write) this.#written ??= 'fault' in write ? write.fault : hex64(write.value);
    if (cpuidCapped) return { kind: 'crashed', message: 'the CPUID sweep was cut short: a maximum is absurd' };
    seen.push(observation);
    const { machine, altered, forced, readBack } = this.#created;
    if (seen.length < machine.identity.vcpus.length) return null;
    return {
      kind: 'running',
      vcpus: (seen as VcpuObservation[]).map(vcpuObservationToJson) as never,
      altered: [...altered],
      forced: [...forced],
      readBack: readBack.map((table) => table.toJSON()),
      ...(this.#written === null ? {} : { written: this.#written }),
    };
  }

  #witnessed(bytes: Uint8Array, seen: Seen): Outcome | null {
    const { index, laps, passes, seen: changes } = decodeWitness(bytes);
    const said = changes.map((change) => changeText(index, change));
    seen.push({ index, laps: Number(laps), passes: Number(passes), changes: said });
    if (seen.length < this.#created.machine.identity.vcpus.length) return null;
    return { kind: 'witnessed', vcpus: seen as WitnessedVcpu[] };
  }

  #dumpWhileItRuns(): Promise<Outcome> {
    const seen: Seen = [];
    return new Promise((resolve) => {
      const end = (outcome: Outcome): void => {
        clearTimeout(late);
        stop();
        resolve(outcome);
      };
      const late = setTimeout(
        () => end({ kind: 'hung', message: `no dump within ${this.#deadlineMs} ms of a live save` }),
        this.#deadlineMs,
      );
      const stop = this.live.onEvent((event: LiveEvent) => {
        const failed = event.kind === 'failed';
        const outcome: Outcome | null = failed
          ? { kind: 'crashed', message: event.error.message }
          : this.#outcomeOf(event, seen);
        if (outcome) end(outcome);
        else late.refresh();
      });
    });
  }
}

function ending(event: Exclude<MachineEvent, { kind: 'record' }>): Outcome {
  switch (event.kind) {
    case 'reset':
      return {
        kind: 'crashed',
        message: `the guest began anew unasked (${event.by})${event.crash ? `: ${event.crash.message}` : ''}`,
      };
    case 'timed-out':
      return { kind: 'hung', message: event.crash.message };
    case 'crashed':
      return { kind: 'crashed', message: event.crash.message };
    case 'exit':
      return { kind: 'crashed', message: `the guest ended itself with code ${event.code}` };
    default:
      return { kind: 'crashed', message: `the guest ${event.kind} without a dump` };
  }
}

export const identityOf = (request: Params<'boot'>): CpuIdentity => identityFromJson(request.identity);
