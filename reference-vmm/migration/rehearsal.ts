/**
 * Rehearsals: what runs for the first time in a process takes Node 20 times as long as the second time, and in a migration the guest would stand
 * still for it.
 */
import type { LiveMachine } from '../live-machine.js';
import { MEMORY_LIMIT } from '../snapshot/file.js';
import { coreSections, type MachineCore, readCore } from '../snapshot/machine-state.js';

/** Takes the state of a machine that stands still. */
export function rehearseSending(live: LiveMachine): MachineCore {
  const core = live.saveCore();
  return readCore(core.identity, coreSections(core), 'rehearsal', MEMORY_LIMIT);
}

/** Takes the state of a machine that is to be given one, and gives it back. */
export function rehearseReceiving(live: LiveMachine): MachineCore {
  const core = rehearseSending(live);
  live.machine.loadCore(core);
  return core;
}
