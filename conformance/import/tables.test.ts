import t from 'tap';
import { type CpuidRow, fieldName, REGISTERS } from '../../corpora/cpuid.js';
import { parseSmp } from '../../corpora/smp.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { TABLE_RELEASES, tablesOf, withoutGroundTruth } from './ground-truth.js';

/** Leaf 0xD follows the host that the tables were taken on. */
const HOST_LEAF = 0xd;
const TIMING_LEAF = '40000010';

const number = (text: string): number => Number.parseInt(text, 16);
const keyOf = (leaf: number, subleaf: number | null): string => `${leaf}.${subleaf}`;

const rowOf = ([leaf, subleaf, eax, ebx, ecx, edx]: readonly string[]): CpuidRow => ({
  leaf: number(leaf!),
  subleaf: subleaf === '-' ? null : number(subleaf!),
  eax: number(eax!),
  ebx: number(ebx!),
  ecx: number(ecx!),
  edx: number(edx!),
});

/** The frequency that QEMU showed is the host's; it is pinned to that. */
function frequencyOf(rows: readonly (readonly string[])[]): string {
  const timing = rows.find(([leaf]) => leaf === TIMING_LEAF);
  return timing ? `,tsc-frequency=${number(timing[2]!) * 1000}` : '';
}

function differences(expected: readonly CpuidRow[], resolved: readonly CpuidRow[]): string[] {
  const wanted = new Map(expected.map((row) => [keyOf(row.leaf, row.subleaf), row]));
  const found = new Map(resolved.map((row) => [keyOf(row.leaf, row.subleaf), row]));
  const wrong: string[] = [];
  for (const row of resolved)
    if (!wanted.has(keyOf(row.leaf, row.subleaf)))
      wrong.push(`${fieldName({ ...row, register: 'eax' })}: a row too many`);
  for (const row of expected) {
    const other = found.get(keyOf(row.leaf, row.subleaf));
    for (const register of REGISTERS) {
      if (other?.[register] === row[register]) continue;
      wrong.push(
        `${fieldName({ ...row, register })}: QEMU ${row[register].toString(16)}, resolved ${other?.[register].toString(16)}`,
      );
    }
  }
  return wrong;
}

for (const release of TABLE_RELEASES) {
  void t.test(
    `every table is what QEMU ${release} hands to KVM_SET_CPUID2`,
    { skip: withoutGroundTruth },
    async (t) => {
      const { pairs, tables } = tablesOf(release);
      const wrong: string[] = [];
      let compared = 0;
      for (const [machine, models] of Object.entries(pairs)) {
        for (const [model, shapes] of Object.entries(models)) {
          for (const [smp, hash] of Object.entries(shapes)) {
            const cpu = `${model},x-force-features=on${frequencyOf(tables[hash]!)}`;
            const { vcpus } = resolve({ machine, cpu, smp: parseSmp(smp), release });
            const outsideD = (rows: readonly CpuidRow[]): CpuidRow[] => rows.filter(({ leaf }) => leaf !== HOST_LEAF);
            const found = differences(outsideD(tables[hash]!.map(rowOf)), outsideD(vcpus[0]!.cpuid.rows));
            for (const one of found) wrong.push(`${machine}/${model} ${smp} ${one}`);
            compared += 1;
          }
        }
      }
      t.same(wrong.slice(0, 20), []);
      t.ok(compared > 2500, `${compared} tables`);
    },
  );
}
