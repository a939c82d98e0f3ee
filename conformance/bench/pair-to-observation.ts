/** One pair from VM creation to decoded observation, beside the C floor: rounds of both take turns, so that noise falls on both. */
import { MachineError } from '../../corpora/errors.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { msrExpectation } from '../probe-msrs.js';
import { bootRound, type Round } from './boot.js';
import { Floor } from './floor.js';
import { quartiles, type Spread } from './spread.js';

export const PAIR = { machine: 'pc-i440fx-2.4', cpu: 'Nehalem' } as const;

/** Rounds before the first that counts: Node compiles what is hot. */
const WARM_UP = 150;

export interface PairToObservation {
  readonly pair: string;
  readonly rounds: number;
  /** MSRs that the probe reads. */
  readonly msrs: number;
  /** Microseconds until the observation was decoded. */
  readonly observed: Comparison;
  /** Microseconds until everything was closed. */
  readonly closed: Comparison;
}

interface Comparison {
  readonly ours: Spread;
  readonly floor: Spread;
  /** Of the medians. */
  readonly ratio: number;
}

/** Throws `MachineError` without KVM or a C compiler, and `bench-not-comparable` where the two guests saw different CPUs. */
export async function pairToObservation(rounds: number, warmUp = WARM_UP): Promise<PairToObservation> {
  const identity = resolve(PAIR);
  const { asked: msrs } = msrExpectation(identity);
  using kvm = openKvm();
  using floor = await Floor.start(identity, msrs);
  const [ours, theirs]: [Round[], Round[]] = [[], []];
  let seen = bootRound(kvm, identity, msrs).seen;
  for (let i = 0; i < warmUp + rounds; i++) {
    const round = bootRound(kvm, identity, msrs);
    const floorRound = await floor.round();
    seen = round.seen;
    if (i < warmUp) continue;
    ours.push(round);
    theirs.push(floorRound);
  }
  const other = await floor.finish();
  if (whatWasSeen(seen) !== whatWasSeen(other))
    throw new MachineError('bench-not-comparable', 'the guest of the C floor saw another CPU or other MSRs than ours');
  const compare = (part: keyof Round): Comparison => {
    const [own, least] = [ours, theirs].map((list) => quartiles(list.map((round) => round[part]))) as [Spread, Spread];
    return { ours: own, floor: least, ratio: own.median / least.median };
  };
  return { pair: identity.pair, rounds, msrs: msrs.length, observed: compare('observed'), closed: compare('closed') };
}

/** All that does not count time: of an MSR which, and whether it faulted. */
const whatWasSeen = ({ cpuid, msrs }: VcpuObservation): string =>
  JSON.stringify([cpuid, msrs.map((msr) => ({ index: msr.index, ...('fault' in msr ? { fault: msr.fault } : {}) }))]);
