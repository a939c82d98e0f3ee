/** Logs of shards: the merged log is the whole, and logs of different runs are refused. */
import t from 'tap';
import type { CellResult } from '../corpora/verdict.js';
import { checksOf } from './checks.js';
import { cell, logOf, vme } from './fixtures.js';
import { compareLogs, comparisonText, logText, mergeLogs } from './merge.js';
import { parseLog, type ResultLog } from './result-log.js';
import { textReport } from './text.js';

const A = cell({});
const B = cell({ scenario: 'reset' });
const named = (...logs: ResultLog[]) => logs.map((log, i) => ({ name: `${i + 1}.jsonl`, log }));

void t.test('shards become one log, which reads back', async (t) => {
  const merged = mergeLogs(named(logOf([A]), logOf([B])));
  t.same(merged.cells, [A, B]);
  t.ok(merged.complete);
  t.same(parseLog(logText(merged), 'merged.jsonl'), merged);
});

void t.test('a cell that both have stands once; a log that was cut makes the whole incomplete', async (t) => {
  const merged = mergeLogs(named(logOf([A, B]), { ...logOf([B]), complete: false }));
  t.same(merged.cells, [A, B]);
  t.notOk(merged.complete);
});

void t.test('a shard that is missing is named, and the whole is not complete', async (t) => {
  const part = (shard: string, one: CellResult): ResultLog => ({ ...logOf([one]), shards: [shard] });
  const whole = mergeLogs(named(part('2/2', B), part('1/2', A)));
  t.match(whole, { shards: ['1/2', '2/2'], complete: true });
  const half = mergeLogs(named(part('1/2', A)));
  t.match(half, { shards: ['1/2'], complete: false });
  t.match(textReport(half, { color: false, verbose: false }), /Shard 2 of 2 is missing.*\nNot complete: 1 identical/);
  t.match(checksOf(half).checks.at(-1), { outcome: 'failed', summary: /Shard 2 of 2 is missing/ });
  t.match(parseLog(logText(half), 'half'), { shards: ['1/2'], complete: false });
  t.ok(mergeLogs(named(part('1/2', A), logOf([A, B]))).complete, 'a whole log is whole');
  const beside = mergeLogs(named(part('1/2', A), logOf([B])));
  t.match(beside, { shards: ['1/2'], complete: false }, 'a log of other cells stands for no part');
  t.throws(() => mergeLogs(named(part('1/2', A), part('2/3', B))), /parts 1\/2 and 2\/3 are not of one whole/);
  for (const bad of ['0/2', '3/2', '1/99999', 'x'])
    t.throws(() => parseLog(logText({ ...half, shards: [bad] }), 'x'), /x:1: .*is no part '1\/2'/, bad);
});

void t.test('logs of other versions, options, hosts, or with another result for one cell are refused', async (t) => {
  const first = logOf([A], { allowAltered: false });
  const refused = (other: ResultLog, message: RegExp) =>
    t.throws(() => mergeLogs(named(first, other)), { code: 'logs-differ', message });
  refused({ ...first, version: '9.9.9' }, /1\.jsonl is of guest-abi 0\.1\.0, 2\.jsonl of 9\.9\.9/);
  refused(logOf([B], { allowAltered: true }), /allowAltered is false in 1\.jsonl and true in 2\.jsonl/);
  refused(logOf([B]), /allowAltered is false in 1\.jsonl and undefined/);
  refused({ ...first, hosts: [{ ...first.hosts[0]!, kernel: '5.10' }] }, /host local is 6\.12 .* and 5\.10/);
  refused(
    logOf([{ ...A, verdict: 'changed' }], { allowAltered: false }),
    /boot is identical in one and changed, predicted identical in the other/,
  );
  refused(
    logOf([{ ...A, predicted: 'refused' }], { allowAltered: false }),
    /identical, predicted refused in the other/,
  );
  refused(logOf([{ ...A, forced: ['aes'] }], { allowAltered: false }), /identical, with aes forced in the other/);
});

void t.test('two logs: what ends otherwise, for the same or for other reasons, is told', async (t) => {
  const refused = { ...B, verdict: 'refused', reasons: [vme] } as const;
  const comparison = compareLogs(
    logOf([A, B, cell({ pair: 'pc-1.0/qemu64' })]),
    logOf([A, refused, cell({ pair: 'pc-1.1/qemu64' })]),
  );
  t.match(comparison, { same: 1, changed: { length: 1 }, onlyBefore: [/pc-1\.0/], onlyAfter: [/pc-1\.1/] });
  t.match(comparisonText(comparison), /reset: was identical, is refused: CPUID 1\.EDX\[1\] \(vme\)/);
  const otherwise = { ...refused, reasons: [{ ...vme, bit: 2 }] };
  t.equal(compareLogs(logOf([refused]), logOf([otherwise])).changed.length, 1);
});
