/** The machine type before one: of the same board, the next older. */
import type { Definitions } from '../../corpora/definitions.js';
import { boardOf } from '../gate/machine-ranges.js';

/** Null where there is none. */
export function predecessorOf(machine: string, definitions: Definitions): string | null {
  const { name } = definitions.machine(machine);
  const board = definitions.machineIndex.machines.filter(
    (one) => boardOf(one) === boardOf(name) && definitions.machine(one).follows !== true,
  );
  return board[board.indexOf(name) - 1] ?? null;
}
