/** Predicted verdicts are the real ones, and a capture's are the kernel's, wherever both exist: here on this machine's KVM. */
import fc from 'fast-check';
import t from 'tap';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { parseSmp } from '../../corpora/smp.js';
import type { Scenario } from '../../corpora/verdict.js';
import { listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { openLocalHost } from '../hosts/local.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { type RunOptions, runCell } from './runner.js';

const definitions = builtInDefinitions();
const MACHINES = ['pc-1.0', 'pc-i440fx-1.6', 'pc-i440fx-2.4', 'pc-q35-4.1', 'pc-q35-10.0', 'pc-next'];
const SCENARIOS: readonly Scenario[] = ['boot', 'reset', 'snapshot-restore', 'migrate'];

void t.test('on this machine', needsKvm, async (t) => {
  await using local = await openLocalHost();
  const recorded = new RecordedHost('of-this-machine', local.capabilities);
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...MACHINES),
      fc.nat(),
      fc.constantFrom(...SCENARIOS),
      fc.record({ allowAltered: fc.boolean(), forceFeatures: fc.boolean() }),
      fc.constantFrom('1', '1', '1', '3'),
      async (machine, pick, scenario, how, smp) => {
        const models = ['host', 'max', 'best', ...listModels(machine, definitions).map(({ name }) => name)];
        const cpu = models[pick % models.length]!;
        const identity = resolve({ machine, cpu, definitions, host: local.capabilities, smp: parseSmp(smp) });
        const options: RunOptions = { ...how, jobs: 1 };
        const [real, played] = await Promise.all(
          [local, recorded].map(async (host) => {
            const hosts = scenario === 'migrate' ? [host, host] : [host];
            return (await runCell({ identity, smp, hosts, scenario }, options)).result;
          }),
        );
        seen.set(real!.verdict, (seen.get(real!.verdict) ?? 0) + 1);
        if (real!.verdict !== real!.predicted || real!.verdict !== played!.verdict)
          throw new Error(
            `${identity.pair} smp ${smp} ${scenario}: ${real!.verdict}, predicted ${real!.predicted}, recorded ${played!.verdict}: ${real!.reasons[0]?.message}`,
          );
      },
    ),
    { seed: 41, numRuns: 60 },
  );
  t.ok(seen.size > 1, [...seen].map(([verdict, many]) => `${many} ${verdict}`).join(', '));
});
