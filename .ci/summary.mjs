// Reads tap's output: prints failures and skips, fails on a skip that this machine could have run, and closes with the counts.
import { readFileSync } from 'node:fs';

/** Reasons for which CI accepts a skip: what a clean machine of this kind cannot have. */
const ACCEPTED = [/packages cannot be fetched/, /shared ground truth is not here/, /no tests found/];

const lines = readFileSync(process.argv[2], 'utf8').split('\n');
const points = lines.filter((line) => /^\s*(not )?ok \d+/.test(line) && !/# Subtest/.test(line));
const leaf = points.filter((line) => /^\s+/.test(line));
const failed = points.filter((line) => /^\s*not ok/.test(line) && !/# (SKIP|TODO)/i.test(line));
const skips = points.filter((line) => /# SKIP/i.test(line));
const refused = skips.filter((line) => !ACCEPTED.some((reason) => reason.test(line)));

if (failed.length) console.log(lines.join('\n'));
for (const line of skips.filter((line) => !/no tests found/.test(line))) console.log(`skip: ${line.trim()}`);
for (const line of refused) console.log(`not accepted: ${line.trim()}`);
const bad = failed.length + refused.length;
console.log(`${leaf.length - failed.filter((line) => /^\s+/.test(line)).length - skips.length} passed, ${bad} failed`);
process.exitCode = bad ? 1 : 0;
