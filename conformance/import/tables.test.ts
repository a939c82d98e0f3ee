/** Every table that a QEMU was seen to hand to KVM, against what its pair resolves to; for other releases: GUEST_ABI_KVM_TABLES. */
import t from 'tap';
import { type CpuidRow, fieldName, REGISTERS } from '../../corpora/cpuid.js';
import { GuestAbiError } from '../../corpora/errors.js';
import { parseSmp } from '../../corpora/smp.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { type KvmTables, tableReleases, tablesOf, withoutTables } from './ground-truth.js';

t.setTimeout(600_000);

/** Leaf 0xD follows the host that the tables were taken on. */
const HOST_LEAF = 0xd;
const TIMING_LEAF = '40000010';
const SIZES_LEAF = '80000008';

type Rows = KvmTables['tables'][string];

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

/** What QEMU showed of its host is pinned to that: the frequency, microvm's address bits (whatever was asked for), the vendor of a model without one. */
function pinned(rows: Rows, machine: string, model: string): string {
  const find = (leaf: string): readonly string[] | undefined => rows.find((row) => row[0] === leaf);
  const [timing, sizes, vendor] = [TIMING_LEAF, SIZES_LEAF, '00000000'].map(find);
  const wide = sizes && (number(sizes[2]!) & 0xff00) !== 0;
  return [
    timing ? `,tsc-frequency=${number(timing[2]!) * 1000}` : '',
    machine === 'microvm' && wide ? `,phys-bits=${number(sizes[2]!) & 0xff}` : '',
    model === 'base' && vendor && number(vendor[3]!) ? `,vendor=${vendorOf(vendor)}` : '',
  ].join('');
}

const vendorOf = ([, , , ebx, ecx, edx]: readonly string[]): string =>
  Buffer.from(Uint32Array.of(...[ebx!, edx!, ecx!].map(number)).buffer).toString('latin1');

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

const outsideD = (rows: readonly CpuidRow[]): CpuidRow[] => rows.filter(({ leaf }) => leaf !== HOST_LEAF);

/** What one table says otherwise than its pair; a pair that cannot be resolved is a finding too. */
function findings(pair: { machine: string; model: string; smp: string }, release: string, rows: Rows): string[] {
  const { machine, model, smp } = pair;
  const cpu = `${model},x-force-features=on${pinned(rows, machine, model)}`;
  try {
    const { vcpus } = resolve({ machine, cpu, smp: parseSmp(smp), release });
    return differences(outsideD(rows.map(rowOf)), outsideD(vcpus[0]!.cpuid.rows));
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    return [error.message];
  }
}

if (withoutTables) t.plan(0, withoutTables);
else {
  for (const release of tableReleases()) {
    void t.test(`every table is what QEMU ${release} hands to KVM_SET_CPUID2`, async (t) => {
      const { pairs, tables } = tablesOf(release);
      const wrong: string[] = [];
      let compared = 0;
      for (const [machine, models] of Object.entries(pairs)) {
        for (const [model, shapes] of Object.entries(models)) {
          for (const [smp, hash] of Object.entries(shapes)) {
            const found = findings({ machine, model, smp }, release, tables[hash] ?? []);
            for (const one of found) wrong.push(`${machine}/${model} ${smp} ${one}`);
            compared += 1;
          }
        }
      }
      t.same(wrong.slice(0, 20), [], `${compared} tables, ${wrong.length} findings`);
      t.ok(compared > 0);
    });
  }
}
