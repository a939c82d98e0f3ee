/** TAP version 14: a line per check, what was found as its diagnostics. */
import { type Check, type CheckReport, linesOf } from './checks.js';

export function tapReport(report: CheckReport): string {
  const lines = report.checks.flatMap((check, i) => point(check, i + 1));
  return ['TAP version 14', `1..${report.checks.length}`, ...lines, `# ${tapText(report.summary)}`, ''].join('\n');
}

function point(check: Check, number: number): string[] {
  const title = `${check.outcome === 'failed' ? 'not ok' : 'ok'} ${number} - ${tapText(`${check.group}: ${check.name}`)}`;
  if (check.outcome === 'passed') return [title];
  if (check.outcome === 'skipped') return [`${title} # SKIP ${tapText(check.summary)}`];
  const findings = linesOf(check).map((line) => `    - ${JSON.stringify(line)}`);
  return [title, '  ---', `  verdict: ${JSON.stringify(check.verdict)}`, '  findings:', ...findings, '  ...'];
}

/** `#` begins a directive, and a line is a line. */
const tapText = (text: string): string => text.replace(/\\/g, '\\\\').replace(/#/g, '\\#').replace(/\s+/g, ' ').trim();
