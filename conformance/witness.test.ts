/** The witness on real KVM: it sees nothing where nothing changes, and everything that a move could do wrong. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { COMMAND } from '../corpora/probe-abi.js';
import {
  PATTERN_STRIDE,
  patternWord,
  WITNESS_BASE,
  WITNESS_COMMAND,
  type WitnessRequest,
} from '../corpora/witness-abi.js';
import { decodeWitness, type WitnessRecord } from '../guest-probes/witness-record.js';
import { needsKvm, probeMachine, smpIdentity } from '../reference-vmm/fixtures.js';
import { gpa } from '../reference-vmm/kvm/guest-memory.js';
import { openKvm } from '../reference-vmm/kvm/system.js';
import { LiveMachine } from '../reference-vmm/live-machine.js';
import type { Machine } from '../reference-vmm/monitor.js';
import type { MachineState, Page } from '../reference-vmm/snapshot/machine-state.js';
import { requestModule, witnessBoot, witnessRequest } from './witness.js';

const SEED = 0x1234567;
const SYSENTER_CS = 0x174;
const TSC = 0x10;
const MEMORY = 4 * 1024 * 1024;
const identity = smpIdentity('3');
/** Small enough to be watched several times in no time. */
const REQUEST: WitnessRequest = {
  cpuid: [0, 1, 0xb].map((leaf) => ({ leaf, subleaf: 0 })),
  ...{ msrs: [SYSENTER_CS, 0x1b, 0x277], apicIds: [1, 2] },
  ...{ seed: SEED, firstPages: 4, growth: 2, lastPages: 12 },
};
const boot = { ...witnessBoot(identity, { memoryBytes: MEMORY }), modules: [requestModule(REQUEST)] };

/** What every vCPU says next. */
const nextRound = (machine: Machine): WitnessRecord[] =>
  identity.vcpus.map(() => {
    const event = machine.run({ timeoutMs: 20_000 });
    if (event.kind !== 'record') throw new Error(`${event.kind} instead of a record`);
    return decodeWitness(event.bytes);
  });

function ask(machine: Machine): WitnessRecord[] {
  machine.sendSerial(Uint8Array.of(COMMAND.dump));
  return nextRound(machine);
}

const ROUND = 4n;

/** Lets every vCPU write all its pages and read all of its CPU once more at least. */
function letWatch(machine: Machine): WitnessRecord[] {
  const before = ask(machine);
  for (;;) {
    const now = ask(machine);
    if (now.every(({ laps, passes }, i) => laps > before[i]!.laps + 1n && passes > before[i]!.passes + ROUND))
      return now;
  }
}

void t.test('a pair is watched in all its rows, in every MSR that counts no time, and over all memory', async (t) => {
  const { cpuid, msrs, apicIds, lastPages } = witnessRequest(identity, { memoryBytes: MEMORY });
  t.equal(cpuid.length, identity.vcpus[0]!.cpuid.size);
  const unwatched = identity.msrs.map(({ index }) => index).filter((index) => !msrs.includes(index));
  t.same(unwatched, [TSC]);
  t.same(apicIds, [1, 2]);
  t.equal(lastPages, Math.floor((MEMORY - WITNESS_BASE) / 4096 / 3));
});

void t.test(
  'nothing changes while nothing is done to it, and its memory holds what the ABI says',
  needsKvm,
  async (t) => {
    using kvm = openKvm();
    using live = new LiveMachine(probeMachine(kvm, identity, { boot, memoryBytes: MEMORY }));
    live.machine.start();
    t.match(
      nextRound(live.machine),
      [0, 1, 2].map((index) => ({ index, sequence: 0, changes: 0n, seen: [] })),
    );
    live.resume();
    for (let i = 0; i < 20; i++) {
      await sleep(5);
      live.pause();
      live.resume();
    }
    live.pause();
    live.sendSerial(Uint8Array.of(WITNESS_COMMAND.pace, 3, 0, 0, 0, WITNESS_COMMAND.forgetGap));
    const records = letWatch(live.machine);
    t.match(
      records,
      [0, 1, 2].map(() => ({ changes: 0n, lostWrites: 0n, pace: 3n })),
    );
    const words = new DataView(live.memory.at(gpa(0), MEMORY).slice().buffer);
    for (const { index, laps } of records) {
      // Page 5 of its slice, word 2: of the lap before its record, or of one that began since.
      const found = words.getUint32(WITNESS_BASE + (index * 12 + 5) * 4096 + 2 * PATTERN_STRIDE, true);
      const possible = Array.from({ length: 1000 }, (_, more) =>
        patternWord(SEED, index, 5, Number(laps) - 1 + more, 2),
      );
      t.ok(possible.includes(found), `vCPU ${index}`);
    }
  },
);

const withMsr = (state: MachineState, index: number, change: (value: bigint) => bigint): MachineState => ({
  ...state,
  vcpus: state.vcpus.map((vcpu) => ({
    ...vcpu,
    msrs: vcpu.msrs.map((msr) => (msr.index === index ? { ...msr, value: change(msr.value) } : msr)),
  })),
});

const tscOf = ({ vcpus }: MachineState): bigint => vcpus[0]!.msrs.find(({ index }) => index === TSC)!.value;

/** The probe and its stacks, and the slices: all that is older would be a wreck and no witness. */
const low = ({ pages }: MachineState): Page[] => pages.filter((page) => page.gpa < WITNESS_BASE);
const high = ({ pages }: MachineState): Page[] => pages.filter((page) => page.gpa >= WITNESS_BASE);

void t.test('whatever a move does wrong is seen by every vCPU', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = probeMachine(kvm, identity, { boot, memoryBytes: MEMORY });
  source.start();
  nextRound(source);
  letWatch(source);
  const old = source.saveState();
  letWatch(source);
  const state = source.saveState();
  const moves: Record<string, readonly [moved: MachineState, kind: string | null]> = {
    'nothing wrong': [state, null],
    'memory of a moment before': [{ ...state, pages: [...low(state), ...high(old)] }, 'page'],
    'an MSR that is another': [withMsr(state, SYSENTER_CS, () => 0x10n), 'msr'],
    'a TSC that runs back': [withMsr(state, TSC, (tsc) => tsc >> 1n), 'tsc'],
  };
  for (const [name, [moved, kind]] of Object.entries(moves)) {
    using machine = probeMachine(kvm, identity, { boot, memoryBytes: MEMORY });
    t.same(machine.loadState(moved), []);
    if (kind === 'tsc' && tscOf(machine.saveState()) > tscOf(state)) {
      t.comment('not tried: this kernel gives guests its own TSC, whatever is set');
      continue;
    }
    for (const { seen, lostWrites } of letWatch(machine)) {
      t.same([...new Set(seen.map((change) => change.kind))], kind === null ? [] : [kind], name);
      t.equal(lostWrites > 0n, kind === 'page', name);
    }
  }
});
