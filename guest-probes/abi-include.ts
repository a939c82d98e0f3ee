/** The constants of corpora/probe-abi.ts and witness-abi.ts as assembler assignments: what guest-probes/abi.inc must hold. */
import * as abi from '../corpora/probe-abi.js';
import * as witness from '../corpora/witness-abi.js';

/** The text of `abi.inc`. A test compares the committed file with it. */
export function abiInclude(): string {
  const groups: Record<string, object> = {
    PORT: abi.PORT,
    COMMAND: abi.COMMAND,
    FLAG: abi.RECORD_FLAG,
    SECTION: abi.SECTION,
    FAULT: abi.FAULT,
    WITNESS_COMMAND: witness.WITNESS_COMMAND,
    WITNESS_SECTION: witness.WITNESS_SECTION,
    CHANGE: witness.CHANGE,
  };
  const numbers = { ...abi, ...witness, WITNESS_COUNTER_COUNT: witness.WITNESS_COUNTERS.length };
  const single = Object.entries(numbers).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
  const grouped = Object.entries(groups).flatMap(([group, members]) =>
    Object.entries(members).map(([name, value]): [string, number] => [`${group}_${name}`, value as number]),
  );
  const lines = [...single, ...grouped].map(([name, value]) => `.set ${name}, 0x${value.toString(16)}`).sort();
  const registers = abi.REGISTER_MSRS.map((index) => `0x${index.toString(16)}`).join(', ');
  return [
    '# Made from corpora/probe-abi.ts and witness-abi.ts by guest-probes/abi-include.ts; a test compares them. Do not edit.',
    ...lines,
    `.macro register_msrs`,
    `.long ${registers}`,
    `.endm`,
    '',
  ].join('\n');
}
