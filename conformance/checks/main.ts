/** Runs every check; the last part of `npm run check`. */
import type { Check } from './check.js';
import { contractsAreCanonical, msrContractsAreCanonical } from './contracts.js';
import { definitionsAreCanonical } from './definitions.js';
import { decisionsAreNumbered, filesIntroduceThemselves, koffiIsWalledIn } from './house.js';
import { msrDictionaryHolds } from './msrs.js';
import { regressionsHold } from './regressions.js';
import { requirementsHold } from './requirements.js';
import { volatilityMatches } from './volatility.js';

const CHECKS: readonly Check[] = [
  definitionsAreCanonical,
  contractsAreCanonical,
  msrContractsAreCanonical,
  volatilityMatches,
  msrDictionaryHolds,
  requirementsHold,
  regressionsHold,
  koffiIsWalledIn,
  filesIntroduceThemselves,
  decisionsAreNumbered,
];

for (const { name, run } of CHECKS) {
  const problems = await run();
  process.stdout.write(`${problems.length === 0 ? 'ok' : 'FAILED'}  ${name}\n`);
  for (const problem of problems) process.stdout.write(`    ${problem}\n`);
  if (problems.length > 0) process.exitCode = 1;
}
