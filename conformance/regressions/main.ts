/** `npm run mutants`: plays the mutants of the regression corpus and of the comparator, and says which the suite catches. `--case N`, `--json`. */
import { parseArgs } from 'node:util';
import { EXIT } from '../../corpora/errors.js';
import { regressions } from '../../corpora/regressions.js';
import { type ComparatorEnd, playComparators } from './comparators.js';
import { countOf, type MutantEnd, playMutants } from './mutants.js';

const { json, numbers } = readArguments();
const cases = regressions().filter(({ id }) => !numbers || numbers.some((number) => id.startsWith(`${number}-`)));
const unknown = numbers?.find((number) => !cases.some(({ id }) => id.startsWith(`${number}-`)));
if (unknown !== undefined) misuse(`no case ${Number(unknown)}; there are 1 to ${regressions().length}`);

const ends: MutantEnd[] = [];
for await (const end of playMutants(cases)) {
  ends.push(end);
  if (!json) console.log(line(end));
}
const comparators = numbers ? [] : playComparators();
const expressible = cases.filter(({ mutants }) => mutants.length > 0).length;
const lost = ends.filter(({ end }) => end === 'SURVIVED' || end === 'twin');
const blind = comparators.filter(({ end }) => end === 'SURVIVED');
const totals = {
  ...{ cases: cases.length, expressible, mutants: ends.length, caught: countOf(ends, 'caught') },
  ...{ unplayed: countOf(ends, 'unplayed'), comparators: comparators.length },
  comparatorsCaught: comparators.length - blind.length,
};
const survivors = [...lost.map(({ id, number }) => `${id} (${number})`), ...blind.map(({ name }) => name)];
if (json)
  console.log(
    JSON.stringify({ schema: 'guest-abi/mutants/1', totals, mutants: ends, comparators, survivors }, null, 1),
  );
else {
  for (const end of comparators) console.log(comparatorLine(end));
  const played = `${totals.caught}/${totals.mutants} mutants caught`;
  const unplayed = totals.unplayed > 0 ? `, ${totals.unplayed} not played here` : '';
  console.log(`${expressible} of ${cases.length} cases can be expressed: ${played}${unplayed}`);
  if (comparators.length > 0)
    console.log(`Mutants of the comparator: ${totals.comparatorsCaught}/${comparators.length} caught`);
  if (survivors.length > 0) console.log(`Not caught: ${survivors.join(', ')}`);
}
process.exitCode = survivors.length > 0 ? EXIT.broken : totals.caught === 0 ? EXIT.cannot : EXIT.holds;

function readArguments(): { readonly json: boolean; readonly numbers: string[] | null } {
  try {
    const { values } = parseArgs({
      options: { json: { type: 'boolean', default: false }, case: { type: 'string', multiple: true } },
    });
    return { json: values.json, numbers: values.case?.map((text) => text.padStart(3, '0')) ?? null };
  } catch (error) {
    return misuse((error as Error).message);
  }
}

function misuse(message: string): never {
  console.error(`mutants: ${message}`);
  process.exit(EXIT.usage);
}

function line({ id, number, kind, life, host, end, finding }: MutantEnd): string {
  return `${end.padEnd(8)} ${id}${number > 1 ? ` (${number})` : ''}, ${kind}, ${life} on ${host}\n         ${finding}`;
}

function comparatorLine({ name, end, finding }: ComparatorEnd): string {
  return `${end.padEnd(8)} a comparator that ${name}\n         ${finding}`;
}
