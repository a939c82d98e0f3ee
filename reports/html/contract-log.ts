/** For tests: the log of a run in which the guests of every frozen pair saw what their contracts say, but for a planted break. */
import { readdirSync, readFileSync } from 'node:fs';
import { type ContractFile, contractOf } from '../../corpora/contracts.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import { packageFile } from '../../corpora/package-root.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { cell, logOf } from '../fixtures.js';
import { type Digest, digestOf, type LoggedTable, logLife } from '../logged-life.js';
import type { LoggedCell, ResultLog } from '../result-log.js';

/** The pair whose guest sees CPUID 1.ECX[25] (aes) though its contract has it not. */
export const BROKEN = 'pc-i440fx-2.3/Nehalem';

/** Text that must stay text. */
export const HOSTILE = `<img src=x onerror="document.title='owned'"> </script> & "quoted"`;

const AES: Reason = reason({
  ...{ code: 'cpuid-changed', requirement: 'ABI-CPUID-001', step: 'boot', vcpu: 0 },
  ...{ leaf: '0x00000001', subleaf: null, register: 'ecx', bit: 25, feature: 'aes', contract: '0', guest: '1' },
  message: `CPUID 1.ECX[25] (aes): contract 0, guest 1 ${HOSTILE}`,
});

/** All frozen pairs, or those that `wanted` takes. */
export function contractLog(wanted: (pair: string) => boolean = () => true): ResultLog {
  const tables = new Map<Digest, LoggedTable>();
  const keep = (table: LoggedTable): Digest => {
    tables.set(digestOf(table), table);
    return digestOf(table);
  };
  const pairs = frozenPairs().filter(wanted);
  return { ...logOf([]), tables, cells: pairs.map((pair) => cellOf(pair, keep)) };
}

function frozenPairs(): string[] {
  const folder = packageFile('corpora/contracts');
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return files.flatMap((name) =>
    (JSON.parse(readFileSync(`${folder}/${name}`, 'utf8')) as ContractFile).tables.flatMap(({ pairs }) =>
      Object.entries(pairs).flatMap(([model, machines]) => machines.map((machine) => `${machine}/${model}`)),
    ),
  );
}

function cellOf(pair: string, keep: (table: LoggedTable) => Digest): LoggedCell {
  const vcpus = contractOf(pair, '1')!.vcpus;
  const broken = pair === BROKEN;
  const seen: VcpuObservation = {
    ...{ index: 0, apicId: 0, sequence: 0, cr0: 0x11, cr4: 0, efer: 0n, apicBase: 0xfee00900n, xss: '#GP', xcr0: null },
    cpuid: vcpus[0]!.cpuid.rows.map((row) =>
      broken && row.leaf === 1 ? { ...row, ecx: (row.ecx | (1 << 25)) >>> 0 } : row,
    ),
    msrs: [{ index: 0x1b, value: 0xfee00900n }],
  };
  const life = {
    expected: vcpus.map((vcpu) => ({ vcpu, msrs: [{ index: 0x1b, value: 0xfee00900n }] })),
    steps: [{ step: 'boot', vcpus: [seen] }],
  };
  return {
    ...cell({ pair, ...(broken ? { verdict: 'changed', reasons: [AES] } : {}) }),
    life: logLife(life, keep, () => false),
  };
}
