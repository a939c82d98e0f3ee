/** JUnit XML, as Jenkins, GitLab and GitHub's actions read it: a suite per host path and scenario, a case per pair. */
import { byGroup, type Check, type CheckReport, linesOf } from './checks.js';

export function junitReport(report: CheckReport): string {
  const suites = [...byGroup(report.checks)].map(([group, checks]) => suite(group, checks, report));
  // The root has no count of skips in Jenkins' schema.
  const { skipped: _, ...all } = counts(report.checks);
  const attributes = { name: report.title, ...all };
  return ['<?xml version="1.0" encoding="UTF-8"?>', ...element('testsuites', attributes, suites.flat()), ''].join('\n');
}

function suite(group: string, checks: readonly Check[], { startedAt, facts }: CheckReport): string[] {
  const timestamp = startedAt.replace(/\.\d+|Z$/g, '');
  const own = facts.filter(([name]) => group.includes(name));
  const properties = own.map(([name, value]) => `<property${attributesText({ name, value })}/>`);
  return element('testsuite', { name: group, ...counts(checks), ...(timestamp ? { timestamp } : {}) }, [
    ...(properties.length > 0 ? element('properties', {}, properties) : []),
    ...checks.flatMap(testCase),
  ]);
}

function testCase(check: Check): string[] {
  const attributes = { classname: check.group, name: check.name, time: seconds(check.ms) };
  if (check.outcome === 'passed') return element('testcase', attributes, []);
  if (check.outcome === 'skipped')
    return element('testcase', attributes, [`<skipped${attributesText({ message: check.summary })}/>`]);
  const failure = attributesText({ message: check.summary, type: check.verdict });
  return element('testcase', attributes, [`<failure${failure}>${xmlText(linesOf(check).join('\n'))}</failure>`]);
}

function counts(checks: readonly Check[]): { readonly skipped: string } & Readonly<Record<string, string>> {
  const many = (outcome: Check['outcome']): string => `${checks.filter((check) => check.outcome === outcome).length}`;
  const time = seconds(checks.reduce((sum, { ms }) => sum + ms, 0));
  return { tests: `${checks.length}`, failures: many('failed'), errors: '0', skipped: many('skipped'), time };
}

const seconds = (ms: number): string => (ms / 1000).toFixed(3);

const element = (name: string, attributes: Readonly<Record<string, string>>, content: readonly string[]): string[] =>
  content.length === 0
    ? [`<${name}${attributesText(attributes)}/>`]
    : [`<${name}${attributesText(attributes)}>`, ...content.map((line) => ` ${line}`), `</${name}>`];

const attributesText = (attributes: Readonly<Record<string, string>>): string =>
  Object.entries(attributes)
    .map(([name, value]) => ` ${name}="${xmlText(value)}"`)
    .join('');

const ENTITY: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** XML 1.0 allows no other control characters, not even as references. */
const xmlText = (text: string): string =>
  text.replace(/[&<>"]/g, (char) => ENTITY[char]!).replace(/(?![\t\n\r])[\p{Cc}\ufffe\uffff]/gu, '?');
