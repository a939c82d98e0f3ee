/** Kept answers: none is given to another question, and the content of a CPUID table tells any two tables apart. */
import t from 'tap';
import { contractOf } from './contracts.js';
import { type CpuidRow, CpuidTable, REGISTERS } from './cpuid.js';
import { Kept, KeptOf } from './kept.js';

void t.test('a question is answered once, also after more questions than are kept', async (t) => {
  const kept = new Kept<string>();
  let made = 0;
  const ask = (content: string): string => kept.answer(content, () => `${content}, ${++made}`);
  t.equal(ask('a'), ask('a'));
  for (let i = 0; i < 3000; i++) if (!ask(`${i}`).startsWith(`${i}, `)) t.fail(`another's answer for ${i}`);
  t.match(ask('a'), /^a, /);
});

void t.test('each object has its own answers', async (t) => {
  const kept = new KeptOf<object, number>();
  const [one, other] = [{}, {}];
  t.equal(
    kept.of(one).answer('a', () => 1),
    1,
  );
  t.equal(
    kept.of(other).answer('a', () => 2),
    2,
  );
  t.equal(
    kept.of(one).answer('a', () => 3),
    1,
  );
});

void t.test('any bit and any place of a table is in its content', async (t) => {
  const { rows } = contractOf('pc-i440fx-2.3/Nehalem', '1')!.vcpus[0]!.cpuid;
  const seen = new Map([[new CpuidTable(rows).content, 'the table itself']]);
  const add = (what: string, changed: readonly CpuidRow[]): void => {
    const { content } = new CpuidTable(changed);
    if (seen.has(content)) t.fail(`${what} is as ${seen.get(content)}`);
    seen.set(content, what);
  };
  rows.forEach((row, i) => {
    const place = `${row.leaf}.${row.subleaf}`;
    for (const register of REGISTERS)
      for (let bit = 0; bit < 32; bit++)
        add(`${place} ${register} ${bit}`, rows.with(i, { ...row, [register]: (row[register] ^ (1 << bit)) >>> 0 }));
    add(`${place} away`, rows.toSpliced(i, 1));
    add(`${place} elsewhere`, rows.with(i, { ...row, leaf: row.leaf + 0x1000 }));
    add(`${place} with another subleaf`, rows.with(i, { ...row, subleaf: row.subleaf === null ? 0 : null }));
  });
  t.equal(seen.size, 1 + rows.length * (4 * 32 + 3));
  t.equal(new CpuidTable(rows.toReversed()).content, new CpuidTable(rows).content);
});
