/** `npm run fuzz -- --runs 100000`: mutated migration streams and snapshot files against the readers of this machine's KVM. */
import { parseArgs } from 'node:util';
import { EXIT } from '../../corpora/errors.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { orUsage } from '../soak/script.js';
import { fuzz } from './fuzz.js';
import { fileTarget, streamTarget } from './targets.js';

const { values } = orUsage('fuzz', () =>
  parseArgs({
    options: {
      runs: { type: 'string', default: '10000' },
      seed: { type: 'string', default: '1' },
      seconds: { type: 'string', default: '3600' },
    },
  }),
);
const number = (name: keyof typeof values): number => {
  if (/^\d+$/.test(values[name])) return Number(values[name]);
  console.error(`fuzz: --${name} takes a whole number, not '${values[name]}'`);
  process.exit(EXIT.usage);
};

const [runs, seed, seconds] = [number('runs'), number('seed'), number('seconds')];
using kvm = openKvm();
using file = fileTarget(kvm);
let faults = 0;
for (const [name, target] of [
  ['streams', streamTarget(kvm)],
  ['files', file],
] as const) {
  const start = performance.now();
  const { runs: done, endings, fault } = await fuzz(target, Math.ceil(runs / 2), seed, start + seconds * 500);
  for (const [ending, count] of Object.entries(endings).sort(([, a], [, b]) => b - a))
    console.log(`${String(count).padStart(8)}  ${ending}`);
  const took = ((performance.now() - start) / 1000).toFixed(0);
  console.log(
    `${done} ${name} in ${took} s, ${Math.round(process.memoryUsage.rss() / 1024 / 1024)} MiB resident, seed ${seed}`,
  );
  if (fault) console.log(`FAULT  ${fault}`);
  if (fault) faults++;
}
process.exitCode = faults > 0 ? EXIT.broken : EXIT.holds;
