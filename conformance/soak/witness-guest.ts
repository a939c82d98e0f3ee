/** The guest of a soak: the witness on several vCPUs, which says what it saw change and which of its writes were lost. */

import { featureName } from '../../corpora/features.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { COMMAND } from '../../corpora/probe-abi.js';
import { parseSmp } from '../../corpora/smp.js';
import { changeText, decodeWitness, type WitnessRecord } from '../../guest-probes/witness-record.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type { Kvm } from '../../reference-vmm/kvm/kvm.js';
import { type LiveEvent, LiveMachine } from '../../reference-vmm/live-machine.js';
import type { Realizer } from '../../reference-vmm/migration/destination.js';
import { type Creation, Machine } from '../../reference-vmm/monitor.js';
import { witnessBoot } from '../witness.js';

export interface SoakShape {
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** Of the patterns that the guest writes. */
  readonly seed: number;
  /** Pages that each vCPU writes; default all of its memory. */
  readonly pages?: number;
}

export const identityOf = ({ vcpus }: SoakShape, cpu = 'Nehalem'): CpuIdentity =>
  resolve({ machine: 'pc-i440fx-2.4', cpu, smp: parseSmp(`${vcpus}`) });

/** Makes the machine of an identity: the kernel may alter and lack what it will, since the guest compares with itself only. */
export function machineOf(kvm: Kvm, identity: CpuIdentity, shape: SoakShape, boots: boolean): LiveMachine {
  const made = created(kvm, identity, shape, boots);
  if (made.kind === 'refused') throw new Error(made.reasons.map(({ message }) => message).join('\n'));
  return new LiveMachine(made.machine);
}

function created(kvm: Kvm, identity: CpuIdentity, shape: SoakShape, boots: boolean): Creation {
  const { memoryBytes, seed, pages } = shape;
  return Machine.create(kvm, identity, {
    ...{ nameOf: featureName, allowAltered: true, forceFeatures: true, memoryBytes },
    ...(boots && { boot: witnessBoot(identity, { memoryBytes, seed, ...(pages && { lastPages: pages }) }) }),
  });
}

export const realizerOf =
  (kvm: Kvm, shape: SoakShape): Realizer =>
  ({ identity }) => {
    const made = created(kvm, identity, shape, false);
    return made.kind === 'refused' ? made.reasons : new LiveMachine(made.machine);
  };

/** How long the vCPUs may take to say what they saw, in milliseconds. */
const RECORD_MS = 30_000;

/** What every vCPU says next. Rejects where the guest ends or is silent. */
export function nextRecords(live: LiveMachine): Promise<WitnessRecord[]> {
  return new Promise((resolve, reject) => {
    const records: WitnessRecord[] = [];
    const finish = (end: () => void): void => {
      clearTimeout(late);
      stop();
      end();
    };
    const late = setTimeout(
      () => finish(() => reject(new Error(`the guest said nothing for ${RECORD_MS} ms`))),
      RECORD_MS,
    );
    const stop = live.onEvent((event: LiveEvent) => {
      if (event.kind === 'record') records.push(decodeWitness(event.bytes));
      else if (event.kind !== 'interrupted') finish(() => reject(new Error(`the guest: ${describe(event)}`)));
      if (records.length === live.identity.vcpus.length) finish(() => resolve(records));
    });
  });
}

const describe = (event: LiveEvent): string => {
  if (event.kind === 'crashed') return event.crash.message;
  return event.kind === 'failed' ? event.error.message : event.kind;
};

/** Boots a guest, and lets it see everything once. */
export async function startWitness(kvm: Kvm, shape: SoakShape): Promise<LiveMachine> {
  const live = machineOf(kvm, identityOf(shape), shape, true);
  live.machine.start();
  const first = nextRecords(live);
  live.resume();
  await first;
  return live;
}

/** Asks the guest what it saw. Throws where it saw anything change, lost a write, or stands still. */
export async function askWitness(live: LiveMachine): Promise<WitnessRecord[]> {
  const answer = nextRecords(live);
  live.sendSerial(Uint8Array.of(COMMAND.dump));
  const records = await answer;
  const changes = records.flatMap(({ index, seen }) => seen.map((change) => changeText(index, change)));
  if (changes.length > 0) throw new Error(changes.join('\n'));
  return records;
}
