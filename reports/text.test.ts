import t from 'tap';
import type { CellResult } from '../corpora/verdict.js';
import { cell, logOf, logTextOf, vme } from './fixtures.js';
import { nameLines } from './reasons.js';
import { conclude, type Judged, parseLog } from './result-log.js';
import { textReport } from './text.js';

const report = (cells: readonly CellResult[]): string => textReport(logOf(cells), { color: false, verbose: false });

void t.test('the table has a row per pair, a column per scenario, and the reasons below', async (t) => {
  const text = report([
    cell({}),
    cell({ scenario: 'reset' }),
    cell({ pair: 'pc-i440fx-2.4/Nehalem', verdict: 'refused', predicted: 'refused', reasons: [vme] }),
  ]);
  t.match(text, /^Pair +boot +reset$/m);
  t.match(text, /^pc-i440fx-1\.6\/Nehalem +identical +identical$/m);
  t.match(
    text,
    /^ {4}CPUID 1\.EDX\[1\] \(vme\): contract 1, host does not offer it \[ABI-HOST-001\] \(as predicted\)$/m,
  );
  t.match(text, /^Holds: 2 identical, 1 refused as predicted, 0 changed$/m);
});

void t.test('what two comparisons found in one bit is one bit, and reads as when one found it', async (t) => {
  const refused = { verdict: 'refused', predicted: 'refused' } as const;
  const line = /^ {4}CPUID 1\.EDX\[1\] \(vme\): contract 1, host does not offer it \[ABI-HOST-001\] \(as predicted\)$/m;
  t.match(report([cell({ ...refused, reasons: [vme, vme] })]), line);
  t.match(
    report([cell({ ...refused, reasons: [vme, { ...vme, bit: 2, feature: 'de' }] })]),
    /CPUID 1\.EDX: vme, de: contract 1/,
  );
});

const ofAll = (cells: readonly CellResult[]): Judged => ({ cells, complete: true });

void t.test('a refusal that was not predicted breaks the contract', async (t) => {
  const cells = [cell({}), cell({ verdict: 'refused', reasons: [vme] })];
  t.equal(conclude(ofAll(cells)), 'broken');
  t.match(report(cells), /UNEXPECTED: predicted identical/);
});

void t.test('refusals alone, and forced cells alone, verify nothing', async (t) => {
  t.equal(conclude(ofAll([cell({ verdict: 'refused', predicted: 'refused' })])), 'nothing-verified');
  t.equal(conclude(ofAll([cell({ forced: ['avx512f'] })])), 'nothing-verified');
  t.equal(conclude(ofAll([])), 'nothing-verified');
});

void t.test('a log that was cut, or is no log, is told apart', async (t) => {
  const whole = logTextOf([cell({})]);
  t.equal(parseLog(whole, 'x').complete, true);
  t.equal(parseLog(whole.slice(0, whole.lastIndexOf('{')), 'x').complete, false);
  t.equal(conclude({ ...ofAll([cell({})]), complete: false }), 'incomplete', 'what ran holds, the rest was not seen');
  t.equal(conclude({ ...ofAll([cell({ verdict: 'changed' })]), complete: false }), 'broken');
  t.throws(() => parseLog('{"type":"cell"}\n', 'x'), /x:1: 'cell' line without 'pair'/);
  t.throws(() => parseLog('hello\n', 'x'), /x:1: not JSON/);
});

void t.test('-v tells each bit in the words of QEMU, libvirt, Linux and cpuid.csv', async (t) => {
  const sse = { ...vme, register: 'ecx' as const, bit: 19, feature: 'sse4.1', message: 'CPUID 1.ECX[19] (sse4.1)' };
  t.same(nameLines([vme, vme, sse, { ...vme, register: null, bit: null }]), [
    '1.EDX[1]: QEMU vme, libvirt vme, Linux vme, cpuid.csv vme',
    '1.ECX[19]: QEMU sse4.1, libvirt sse4.1, Linux sse4_1, cpuid.csv sse4_1',
  ]);
});
