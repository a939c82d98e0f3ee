/** What is done to a guest over and over in a soak. */
import type { Kvm } from '../../reference-vmm/kvm/kvm.js';
import type { LiveMachine } from '../../reference-vmm/live-machine.js';
import type { SoakShape } from './witness-guest.js';

/** Chance, and what is counted for the report. */
export interface Tally {
  /** The same for a seed: a number from 0 up to, and without, `below`. */
  readonly random: (below: number) => number;
  readonly count: (what: string, by?: number) => void;
}

export interface SoakContext extends Tally {
  readonly kvm: Kvm;
  readonly shape: SoakShape;
  /** A folder for files and sockets. */
  readonly folder: string;
  /** The guest, which runs. An activity that moves it puts the other machine here. */
  guest: LiveMachine;
}

export interface Activity {
  /** Its option: `--migrations 1000`. */
  readonly name: string;
  /** Once; throws where anything is wrong. The guest runs before and after. */
  run(context: SoakContext): Promise<void>;
}
