/** `npm run mutants`: plays the mutants of the regression corpus and says which the suite catches. `--case N`, `--json`. */
import { parseArgs } from 'node:util';
import { EXIT } from '../../corpora/errors.js';
import { regressions } from '../../corpora/regressions.js';
import { countOf, type MutantEnd, playMutants } from './mutants.js';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, case: { type: 'string', multiple: true } },
});
const wanted = values.case?.map((text) => text.padStart(3, '0'));
const cases = regressions().filter(({ id }) => !wanted || wanted.some((number) => id.startsWith(`${number}-`)));
if (cases.length === 0) {
  console.error(`no case ${values.case?.join(', ')}; there are 1 to ${regressions().length}`);
  process.exit(EXIT.usage);
}

const ends: MutantEnd[] = [];
for await (const end of playMutants(cases)) {
  ends.push(end);
  if (!values.json) console.log(line(end));
}
const expressible = cases.filter(({ mutants }) => mutants.length > 0).length;
const caught = countOf(ends, 'caught');
const lost = ends.filter(({ end }) => end === 'SURVIVED' || end === 'twin');
if (values.json) {
  const totals = {
    cases: cases.length,
    expressible,
    mutants: ends.length,
    caught,
    unplayed: countOf(ends, 'unplayed'),
  };
  console.log(
    JSON.stringify(
      { schema: 'guest-abi/mutants/1', totals, mutants: ends, survivors: lost.map(({ id }) => id) },
      null,
      1,
    ),
  );
} else {
  console.log(
    `${expressible} of ${cases.length} cases can be expressed, as ${ends.length} mutants: ${caught} caught, ${countOf(ends, 'unplayed')} not played here`,
  );
  if (lost.length > 0) console.log(`Not caught: ${lost.map(({ id, number }) => `${id} (${number})`).join(', ')}`);
}
process.exitCode = lost.length > 0 ? EXIT.broken : caught === 0 ? EXIT.cannot : EXIT.holds;

function line({ id, number, kind, life, host, end, finding }: MutantEnd): string {
  return `${end.padEnd(8)} ${id}${number > 1 ? ` (${number})` : ''}, ${kind}, ${life} on ${host}\n         ${finding}`;
}
