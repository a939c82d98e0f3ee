/** SARIF 2.1.0 (OASIS), for code scanning: a rule per requirement or reason code, a result per finding of a check that failed. */
import { createHash } from 'node:crypto';
import type { Location, Log, ReportingDescriptor, Result } from 'sarif';
import { requirements } from '../corpora/requirements.js';
import type { Reason } from '../corpora/verdict.js';
import { type Check, type CheckReport, groupBy, isForReview } from './checks.js';
import { reasonLines } from './reasons.js';

const SCHEMA = 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json';
const CORPORA = 'CORPORA';

export function sarifReport(report: CheckReport): string {
  const failed = report.checks.filter((check) => check.outcome === 'failed' || isForReview(check));
  const found = failed.flatMap(findingsOf);
  const rules = [...new Set(found.map(({ rule }) => rule))].sort();
  const log: Log = {
    $schema: SCHEMA,
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'guest-abi', version: report.version, rules: rules.map((id) => ruleOf(id)) } },
        originalUriBaseIds: { [CORPORA]: { description: { text: "guest-abi's corpora folder" } } },
        invocations: [
          {
            executionSuccessful: report.conclusion === 'holds',
            exitCodeDescription: report.summary,
            ...(report.startedAt ? { startTimeUtc: report.startedAt } : {}),
          },
        ],
        columnKind: 'utf16CodeUnits',
        results: found.map((finding) => resultOf(finding, rules)),
      },
    ],
  };
  return `${JSON.stringify(log, null, 1)}\n`;
}

interface Finding {
  readonly check: Check;
  readonly rule: string;
  readonly text: string;
}

/** One for each rule that a check breaks, and at least one. */
function findingsOf(check: Check): Finding[] {
  if (check.reasons.length === 0) return [{ check, rule: check.verdict, text: check.summary }];
  return [...groupBy(check.reasons, ruleName)].map(([rule, own]) => ({
    ...{ check, rule },
    text: `${check.name} on ${check.group}: ${check.verdict}: ${reasonLines(own).join('; ')}`,
  }));
}

const ruleName = ({ requirement, code }: Reason): string => requirement ?? code;

function ruleOf(id: string): ReportingDescriptor {
  const requirement = requirements().find((one) => one.id === id);
  return {
    id,
    shortDescription: { text: requirement?.sentence ?? id.replaceAll('-', ' ') },
    ...(requirement ? { help: { text: `Sources: ${requirement.sources.join('; ')}` } } : {}),
    defaultConfiguration: { level: 'error' },
  };
}

const resultOf = ({ check, rule, text }: Finding, rules: readonly string[]): Result => ({
  ruleId: rule,
  ruleIndex: rules.indexOf(rule),
  ...(isForReview(check) ? ({ kind: 'review', level: 'none' } as const) : ({ kind: 'fail', level: 'error' } as const)),
  message: { text },
  locations: [locationOf(check)],
  // The same finding in the next run is the same alert.
  partialFingerprints: { 'guest-abi/1': digestOf([check.group, check.name, rule]) },
});

function locationOf({ group, name, place }: Check): Location {
  const logical = { logicalLocations: [{ name, fullyQualifiedName: `${group}: ${name}`, kind: 'object' }] };
  if (!place) return logical;
  const { file, line, inCorpora } = place;
  const uri = encodeURI(file);
  return {
    ...logical,
    physicalLocation: {
      artifactLocation: inCorpora ? { uri, uriBaseId: CORPORA } : { uri },
      region: { startLine: line ?? 1 },
    },
  };
}

const digestOf = (parts: readonly string[]): string =>
  createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 32);
