/** Each report, read by a real consumer of its format: what was broken, what held and what proves nothing must come out of it again. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from 'sarif';
import t from 'tap';
import { Parser } from 'tap-parser';
import { packageFile } from '../corpora/package-root.js';
import type { CellResult } from '../corpora/verdict.js';
import { type CheckReport, checksOf } from './checks.js';
import { cell, logOf, vme } from './fixtures.js';
import { CHECK_FORMATS, type CheckFormat, checkReporter, LOG_FORMATS, reportOf } from './reporters.js';

const NASTY = {
  ...vme,
  requirement: 'ABI-CPUID-003',
  message: 'CPUID 1.EDX[1] (a<b>&"c" # x | y\x01): contract 1, guest 0',
};
/** One that passed, two that broke in the same way, three that prove nothing. */
const CELLS: readonly CellResult[] = [
  cell({}),
  cell({ pair: 'pc-i440fx-2.0/qemu64,+aes', verdict: 'changed', reasons: [NASTY] }),
  cell({ pair: 'pc-i440fx-2.1/qemu64,+aes', verdict: 'changed', reasons: [NASTY] }),
  cell({ pair: 'pc-i440fx-2.4/Nehalem', verdict: 'refused', predicted: 'refused', reasons: [vme] }),
  cell({ pair: 'pc-i440fx-2.5/Nehalem', hosts: ['recorded:EPYC/6.12'] }),
  cell({ pair: 'pc-i440fx-2.6/Nehalem', verdict: 'altered', predicted: 'altered', smp: '8c4t2' }),
];
const CHECKS = checksOf(logOf(CELLS));
const folder = t.testdir();

const written = async (format: CheckFormat, report: CheckReport = CHECKS): Promise<string> =>
  (await checkReporter(format))(report);

/** What a program says of a text in a file; `skip` where it is not installed. */
function consume(program: string, args: readonly string[], text: string) {
  const file = join(folder, 'report');
  writeFileSync(file, text);
  return spawnSync(program, [...args, file], { encoding: 'utf8' });
}
const needs = (program: string) => ({
  skip: spawnSync(program, ['--version']).error ? `${program} is not installed` : (false as const),
});

void t.test('only a cell that was compared with something real and found the same has passed', async (t) => {
  t.same(
    CHECKS.checks.map(({ outcome }) => outcome),
    ['passed', 'failed', 'failed', 'skipped', 'skipped', 'skipped'],
  );
  t.match(CHECKS.checks[3]!.summary, /^refused, as predicted: CPUID 1\.EDX\[1\] \(vme\)/);
  t.match(CHECKS.checks[4]!.summary, /no kernel ran/);
});

void t.test('a run that verified nothing, and one that was cut short, fail a check', async (t) => {
  const nothing = checksOf(logOf([CELLS[3]!]));
  t.match(nothing.checks.at(-1), { group: 'the run', outcome: 'failed', verdict: 'nothing-verified' });
  const cut = checksOf({ ...logOf([cell({})]), complete: false });
  t.match(cut.checks.at(-1), { outcome: 'failed', summary: /cut short/ });
});

void t.test('JUnit is valid by its schema', needs('xmllint'), async (t) => {
  for (const report of [CHECKS, checksOf(logOf([])), checksOf(logOf([CELLS[3]!]))]) {
    const { status, stderr } = consume(
      'xmllint',
      ['--noout', '--schema', packageFile('reports/junit.xsd')],
      await written('junit', report),
    );
    t.equal(status, 0, stderr);
  }
});

void t.test('JUnit: junitparser counts what the log holds', needs('junitparser'), async (t) => {
  const counts = `import sys, junitparser as j
xml = j.JUnitXml.fromfile(sys.argv[1])
print(xml.tests, xml.failures, sum(s.skipped for s in xml), [c.result[0].message for s in xml for c in s if c.result and isinstance(c.result[0], j.Failure)][0])`;
  const { stdout, stderr } = consume('/usr/bin/python3', ['-c', counts], await written('junit'));
  t.match(stdout, /^6 2 3 changed, predicted identical: CPUID 1\.EDX\[1\] \(a<b>&"c" # x \| y\?\)/, stderr);
  t.equal(consume('junitparser', ['verify'], await written('junit')).status, 1, 'its own gate is red');
  t.equal(consume('junitparser', ['verify'], await written('junit', checksOf(logOf([cell({})])))).status, 0);
});

void t.test('TAP: a TAP parser counts what the log holds', async (t) => {
  const parsed = await new Promise<{ results: ReturnType<typeof Parser.parse> }>((resolve) => {
    const parser = new Parser({ strict: true });
    const comments: string[] = [];
    parser.on('comment', (text: string) => comments.push(text));
    parser.on('complete', (results: unknown) => resolve({ results: results as never }));
    void written('tap').then((text) => parser.end(text));
  });
  t.match(parsed.results, { ok: false, count: 6, pass: 4, fail: 2, skip: 3 });
  const [failure] = Parser.parse(await written('tap'), { flat: true }).filter(
    (event) => event[0] === 'assert' && !event[1].ok,
  );
  t.match(failure![1], { diag: { verdict: 'changed', findings: [`${NASTY.message} [ABI-CPUID-003]`] } });
});

void t.test('SARIF is valid by the schema of SARIF 2.1.0', needs('jsonschema'), async (t) => {
  const check = (text: string) =>
    consume('jsonschema', [packageFile('reports/sarif-2.1.0.schema.json'), '--instance'], text);
  for (const report of [CHECKS, checksOf(logOf([])), checksOf(logOf([CELLS[0]!])), checksOf(logOf(CELLS))]) {
    const { status, stderr } = check(await written('sarif', report));
    t.equal(status, 0, stderr);
  }
  const broken: Record<string, (log: Log) => void> = {
    'a result without words': ({ runs: [run] }) => Reflect.deleteProperty(run!.results![0]!, 'message'),
    'an unknown property': ({ runs: [run] }) => Object.assign(run!.results![0]!, { verdict: 'changed' }),
    'a level that there is not': ({ runs: [run] }) => Object.assign(run!.results![0]!, { level: 'fatal' }),
    'another version': (log) => Object.assign(log, { version: '2.0.0' }),
  };
  for (const [name, edit] of Object.entries(broken)) {
    const log = JSON.parse(await written('sarif')) as Log;
    edit(log);
    t.equal(check(JSON.stringify(log)).status, 1, name);
  }
});

void t.test('SARIF: results name rules that are there, and places', async (t) => {
  const [run] = (JSON.parse(await written('sarif')) as Log).runs;
  const rules = run!.tool.driver.rules!.map(({ id }) => id);
  t.same(rules, ['ABI-CPUID-003']);
  t.match(run!.tool.driver.rules![0], { shortDescription: { text: /APIC id/ } });
  t.equal(run!.results!.length, 2);
  for (const { ruleId, ruleIndex, locations, partialFingerprints } of run!.results!) {
    t.equal(rules[ruleIndex!], ruleId);
    const { physicalLocation } = locations![0]!;
    t.equal(physicalLocation!.artifactLocation!.uri, 'contracts/qemu64.json');
    t.ok(run!.originalUriBaseIds![physicalLocation!.artifactLocation!.uriBaseId!]);
    t.match(partialFingerprints, { 'guest-abi/1': /^[0-9a-f]{32}$/ });
  }
  t.equal(new Set(run!.results!.map((one) => one.partialFingerprints!['guest-abi/1'])).size, 2);
});

void t.test('Markdown: rendered, nothing of a message is markup', needs('cmark-gfm'), async (t) => {
  const args = ['--extension', 'table', '--unsafe'];
  const { stdout: html } = consume('cmark-gfm', args, await written('markdown'));
  t.match(html, /<h1>guest-abi verify: the contract is BROKEN<\/h1>/);
  t.match(
    html,
    /<li>CPUID 1\.EDX\[1\] \(a&lt;b&gt;&amp;&quot;c&quot; # x \| y.\): contract 1, guest 0 \[ABI-CPUID-003\]<\/li>/,
  );
  t.match(html, /<strong>changed<\/strong> \(2 times\)/);
  t.match(html, /<code>pc-i440fx-2\.0\/qemu64,\+aes<\/code>, <code>pc-i440fx-2\.1\/qemu64,\+aes<\/code>/);
  t.equal(html.match(/<table>/g)?.length, 2);
  t.match(html, /<summary>Skipped: 3, which proves nothing<\/summary>/);
});

void t.test('GitHub: one annotation for what two cells show, escaped as the runner reads it', async (t) => {
  const lines = (await written('github')).trimEnd().split('\n');
  t.equal(lines.length, 2);
  // actions/runner: properties up to the second `::`, the message after it.
  const [, properties, message] = /^::error (.*?)::(.*)$/.exec(lines[0]!) ?? [];
  t.equal(properties, 'title=changed%3A pc-i440fx-2.0/qemu64%2C+aes%2C pc-i440fx-2.1/qemu64%2C+aes');
  t.match(message, /\(local: boot\)$/);
  t.match(lines[1], /^::notice title=guest-abi verify::BROKEN: 1 identical/);
});

void t.test('GitHub: places of a repository are named, and no more than ten annotations', async (t) => {
  const check = CHECKS.checks[1]!;
  const many = Array.from({ length: 30 }, (_, i) => ({
    ...check,
    reasons: [{ ...NASTY, message: `finding ${i}` }],
    place: { file: 'abi/cpu-models/intel/Mine.json', line: 7, inCorpora: false },
  }));
  const lines = (await written('github', { ...CHECKS, checks: many })).trimEnd().split('\n');
  t.equal(lines.filter((line) => line.startsWith('::error')).length, 10);
  t.match(lines[0], /^::error file=abi\/cpu-models\/intel\/Mine\.json,line=7,title=/);
  t.match(lines[9], /and 21 more findings/);
});

void t.test('every format makes a report of any log, of an empty one too', async (t) => {
  t.ok(CHECK_FORMATS.every((format) => LOG_FORMATS.includes(format)));
  for (const format of LOG_FORMATS)
    for (const cells of [[], CELLS])
      t.ok((await reportOf(format, logOf(cells), { color: true, verbose: true })).length > 20, format);
});
