/** What this machine's KVM lacks for each model, held against what a real QEMU says of it: `unavailable-features` and `filtered-features`. */
import t from 'tap';
import { CpuidTable } from '../../../corpora/cpuid.js';
import { featureDictionary } from '../../../corpora/features.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { type FilteredWord, lacksOf } from '../../../reference-vmm/cpu-model/enforce.js';
import { resolveCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import { cpuidTables } from '../../../reference-vmm/cpu-model/table.js';
import { needsKvm } from '../../../reference-vmm/fixtures.js';
import { hostCapabilities } from '../../../reference-vmm/kvm/capabilities.js';
import { openKvm } from '../../../reference-vmm/kvm/system.js';
import { QemuProcess } from '../../import/qemu-process.js';
import { cachedQemu, type QemuLauncher } from '../../packages/qemu-trees.js';

type Asserts = Pick<typeof t, 'ok' | 'strictSame'>;

/** The release whose additions to KVM's list are ours. */
const RELEASE = '11.1';
const MACHINE = 'pc-i440fx-11.1';
const LEAF_D = 0xd;

/** QEMU does not know of kernels that give guests more, or less, than they list. */
const asListed = (host: HostCapabilities): HostCapabilities => ({
  ...host,
  cpuidAdditions: new CpuidTable([]),
  cpuidRemovals: new CpuidTable([]),
});

/** Features that no guest of this CPU sees (a leaf above its level, AMD's PMU leaf without a PMU): QEMU asks the host for them all the same. */
function unseen(cpu: ReturnType<typeof resolveCpu>['cpu'], names: readonly string[]): string[] {
  const { cpuid } = cpuidTables(cpu)[0]!;
  const dictionary = featureDictionary();
  const shown = (name: string): boolean =>
    dictionary.bitsOf(name).some(({ field, bit }) => {
      const at = dictionary.word(field)!.cpuid;
      return at === null || ((cpuid.value(at.leaf, at.subleaf, at.register) >>> bit) & 1) === 1;
    });
  return names.filter((name) => !shown(name));
}

interface Definition {
  readonly name: string;
  readonly 'unavailable-features': readonly string[];
}

async function compareModels(t: Asserts, launcher: QemuLauncher, host: HostCapabilities): Promise<void> {
  await using qemu = await QemuProcess.start(launcher, ['-machine', MACHINE, '-accel', 'kvm']);
  const definitions = (await qemu.qmp.execute('query-cpu-definitions', {}, 60_000)) as Definition[];
  let lacking = 0;
  for (const { name, 'unavailable-features': theirs } of definitions) {
    if (name === 'host' || name === 'max') continue;
    const cpu = `${name},vendor=${host.facts.cpuVendor}`;
    const resolved = resolveCpu({ machine: MACHINE, cpu, release: RELEASE });
    const ours = lacksOf(resolved.cpu, resolved.expansion.withoutNeeds, host).unavailable;
    const left = new Set(unseen(resolved.cpu, theirs));
    lacking += ours.length;
    t.strictSame([...ours].sort(), [...new Set(theirs)].filter((one) => !left.has(one)).sort(), name);
  }
  t.ok(definitions.length > 180 && lacking > 0, `${definitions.length} models lack ${lacking} features`);
}

/** Not leaf 0xD: QEMU no longer lists components there. */
const words = (filtered: readonly FilteredWord[]): string[] =>
  filtered
    .filter((one) => one.features !== 0 && one['cpuid-input-eax'] !== LEAF_D)
    .map((one) => [one['cpuid-input-eax'], one['cpuid-input-ecx'], one['cpuid-register'], one.features].join())
    .sort();

async function compareWords(t: Asserts, launcher: QemuLauncher, host: HostCapabilities): Promise<void> {
  for (const model of [
    'Broadwell',
    'Opteron_G5,+svm,+npt,+invtsc',
    'EPYC-Milan,+vaes,+la57,+mpx,+avx512f,+kvm-pv-unhalt',
  ]) {
    const cpu = `${model},vendor=${host.facts.cpuVendor}`;
    const args = ['-machine', MACHINE, '-accel', 'kvm', '-m', '16', '-cpu', `${cpu},check=off`];
    await using qemu = await QemuProcess.start(launcher, args);
    const [first] = (await qemu.qmp.execute('query-cpus-fast')) as { 'qom-path': string }[];
    const question = { path: first!['qom-path'], property: 'filtered-features' };
    const theirs = (await qemu.qmp.execute('qom-get', question)) as FilteredWord[];
    const { cpu: expanded } = resolveCpu({ machine: MACHINE, cpu, release: RELEASE });
    const { filtered } = lacksOf(expanded, [], host);
    t.ok(words(filtered).length > 0);
    t.strictSame(words(filtered), words(theirs), model);
  }
}

for (const [what, compare] of [
  ['query-cpu-definitions names what each model lacks here', compareModels],
  ['filtered-features of a CPU that lacks much', compareWords],
] as const)
  void t.test(`${what}, and we do`, needsKvm, async (t) => {
    const launcher = await cachedQemu(RELEASE);
    if (!launcher) return t.plan(0, `QEMU ${RELEASE} is not in the cache`);
    using kvm = openKvm();
    await compare(t, launcher, asListed(hostCapabilities(kvm)));
  });
