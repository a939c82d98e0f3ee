/** The oracle on every table that real QEMUs gave to KVM: a faithful guest has no difference, and one that reads everything does. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import { packageFile } from '../../corpora/package-root.js';
import { loadVolatility } from '../../corpora/volatility/volatility.js';
import { type CompareContext, compareVcpu } from '../compare.js';
import { RESET_STATE, simulateVcpu } from './simulate.js';

const groundTruth = packageFile('../shared/ground-truth');
const skip = !existsSync(groundTruth) && 'the ground truth is not beside this checkout';
const volatility = loadVolatility();
const context: CompareContext = { volatility, nameOf: () => undefined, step: 'boot', answerer: 'kvm' };

const readGzip = (file: string): unknown => JSON.parse(gunzipSync(readFileSync(file)).toString());
const filesBelow = (folder: string): string[] =>
  readdirSync(join(groundTruth, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.json.gz'))
    .map((name) => join(groundTruth, folder, name));

type Row = readonly [leaf: string, subleaf: string, ...registers: string[]];
const hex = (text: string): number => Number.parseInt(text, 16);

function tableOf(rows: readonly Row[]): CpuidTable {
  return new CpuidTable(
    rows.map(([leaf, subleaf, ...registers]) => {
      const [eax, ebx, ecx, edx] = registers.map(hex);
      return {
        leaf: hex(leaf),
        subleaf: subleaf === '-' ? null : hex(subleaf),
        eax: eax!,
        ebx: ebx!,
        ecx: ecx!,
        edx: edx!,
      };
    }),
  );
}

const tables = (): Map<string, CpuidTable> =>
  new Map(
    filesBelow('qemu-kvm-tables').flatMap((file) => {
      const release = readGzip(file) as { tables: Record<string, Row[]> };
      return Object.entries(release.tables).map(([hash, rows]): [string, CpuidTable] => [hash, tableOf(rows)]);
    }),
  );

void t.test(
  'the probe reads every row of every table, and a faithful guest shows no difference',
  { skip },
  async (t) => {
    for (const [hash, cpuid] of tables()) {
      const seen = simulateVcpu(cpuid, RESET_STATE, volatility, 'kvm');
      const expected = { index: 0, apicId: seen.apicId, cpuid, msrs: [] };
      const reasons = compareVcpu({ ...expected, otherMsrs: 'denied', rowsBeyondMaximum: 'different' }, seen, context);
      if (reasons.length > 0) t.fail(`${hash}: ${reasons.map(({ message }) => message).join('; ')}`);
    }
    t.ok(tables().size > 500);
  },
);
