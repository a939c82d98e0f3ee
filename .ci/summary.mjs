// Reads tap's output and the lab stage's log: prints failures and skips, fails on a skip that this machine could have run, and closes with the counts.
import { existsSync, readFileSync } from 'node:fs';

/** Reasons for which CI accepts a skip: what a clean machine of this kind need not have. */
const ACCEPTED = [
  /ground truth/,
  /no measurement at hand/,
  /no measured tables at hand/,
  /QEMU \S+ is not in the cache/,
  /this checkout is closed to other users/,
  // Debian moves on: its newest kernels need not be among the captured ones.
  /no lab kernel in the cache has a committed capture/,
  ...(process.env.CI_WITHOUT_PACKAGES ? [/is not installed/, /no lab in the cache/, /no sshd here/] : []),
];

const [tapFile, labFile] = process.argv.slice(2);
const lines = readFileSync(tapFile, 'utf8').split('\n');
const points = lines.filter((line) => /^\s*(not )?ok \d+/.test(line));
const failed = points.filter((line) => /^\s*not ok/.test(line) && !/# (SKIP|TODO)/i.test(line));
const skips = points.filter((line) => /# SKIP/i.test(line));
const refused = skips.filter((line) => !ACCEPTED.some((reason) => reason.test(line)));
const total = Number(/^# \{ total: (\d+)/m.exec(lines.join('\n'))?.[1] ?? 0);

for (const line of failed) {
  const at = lines.indexOf(line);
  console.log(lines.slice(at, at + 40).join('\n'));
}
for (const line of skips) console.log(`skip: ${line.trim()}`);
for (const line of refused) console.log(`a skip that CI does not accept: ${line.trim()}`);

const cells = existsSync(labFile)
  ? readFileSync(labFile, 'utf8')
      .split('\n')
      .filter((line) => line.includes('"type":"cell"'))
      .map((line) => JSON.parse(line))
  : [];
const broken = cells.filter((cell) => cell.verdict !== cell.predicted);
console.log(`lab stage: ${cells.length} cells, ${broken.length} otherwise than predicted`);

const bad = failed.length + refused.length + broken.length + (total === 0 ? 1 : 0);
console.log(`${total - failed.length - skips.length + cells.length - broken.length} passed, ${bad} failed`);
process.exitCode = bad ? 1 : 0;
