/** Cells and logs for tests of reports. */
import type { CellResult } from '../corpora/verdict.js';
import { reason } from '../corpora/verdict.js';
import { LOG_SCHEMA, parseLog, type ResultLog } from './result-log.js';

export const cell = (facts: Partial<CellResult>): CellResult => ({
  pair: 'pc-i440fx-1.6/Nehalem',
  smp: '1',
  subject: 'reference-vmm',
  hosts: ['local'],
  scenario: 'boot',
  verdict: 'identical',
  predicted: 'identical',
  forced: [],
  evidence: 'qemu 5.2, KVM_SET_CPUID2',
  reasons: [],
  ms: 5,
  ...facts,
});

export const vme = reason({
  code: 'cpuid-not-offered',
  step: 'boot',
  leaf: '0x00000001',
  subleaf: null,
  register: 'edx',
  bit: 1,
  feature: 'vme',
  contract: '1',
  guest: '0',
  message: 'CPUID 1.EDX[1] (vme): contract 1, host does not offer it',
});

/** As a run writes it. */
export const logTextOf = (cells: readonly CellResult[], options?: Readonly<Record<string, unknown>>): string =>
  [
    {
      type: 'run',
      schema: LOG_SCHEMA,
      version: '0.1.0',
      startedAt: '2026-01-01T00:00:00Z',
      ...(options && { options }),
    },
    { type: 'host', id: 'local', kernel: '6.12', module: 'kvm_amd', cpu: 'EPYC', note: 'ready' },
    ...cells.map((one) => ({ type: 'cell', ...one })),
    { type: 'end', complete: true },
  ]
    .map((line) => `${JSON.stringify(line)}\n`)
    .join('');

export const logOf = (cells: readonly CellResult[], options?: Readonly<Record<string, unknown>>): ResultLog =>
  parseLog(logTextOf(cells, options), 'run.jsonl');
