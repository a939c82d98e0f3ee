/** enforce, check and filter on every capture at hand, against a second reckoning and as properties. */
import fc from 'fast-check';
import t from 'tap';
import { CpuidTable } from '../../../corpora/cpuid.js';
import { builtInDefinitions } from '../../../corpora/definitions.js';
import { featureDictionary } from '../../../corpora/features.js';
import { parseHex32 } from '../../../corpora/hex.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { captureToJson } from '../../../corpora/host-capture.js';
import type { Reason } from '../../../corpora/verdict.js';
import { filterCpu, isOffered, lacksOf } from '../../../reference-vmm/cpu-model/enforce.js';
import { resolveOnHost } from '../../../reference-vmm/cpu-model/on-host.js';
import { listMachines, listModels, resolveCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import { cpuidTables } from '../../../reference-vmm/cpu-model/table.js';
import { allCaptures } from '../recorded/captures-for-tests.js';
import { lacksAgain, msrLacksAgain } from './independent-enforce.js';

const definitions = builtInDefinitions();
const dictionary = featureDictionary();
const hosts = await allCaptures();
const machines = listMachines(definitions).map(({ name }) => name);
const features = [...dictionary.names()];

/** By its id: counterexamples print. */
const anyHost = fc.constantFrom(...hosts.map(({ id }) => id));
const named = (id: string) => hosts.find((one) => one.id === id)!.host;
/** A pair, with up to four features changed. */
const anyPair = fc.constantFrom(...machines).chain((machine) =>
  fc.record({
    machine: fc.constant(machine),
    model: fc.constantFrom(...listModels(machine, definitions).map(({ name }) => name)),
    options: fc.array(fc.tuple(fc.constantFrom('+', '-'), fc.constantFrom(...features)), { maxLength: 4 }),
  }),
);
const cpuOf = ({ model, options }: { model: string; options: readonly (readonly [string, string])[] }): string =>
  [model, ...options.map(([sign, name]) => sign + name)].join(',');

/** A reason as the second reckoning writes it. */
function places({ code, leaf, subleaf, register, bit, msr, contract, guest }: Reason): string[] {
  if (code === 'msr-feature-not-offered') return [`${msr}[${bit}]`];
  const place = `${parseHex32(leaf!).toString(16)}.${subleaf === null ? 0 : parseHex32(subleaf)}.${register}`;
  if (code !== 'cpuid-not-offered') return [place];
  if (bit !== null) return [`${place}[${bit}]`];
  const missing = parseHex32(contract!) & ~parseHex32(guest!);
  return Array.from({ length: 32 }, (_, i) => i)
    .filter((i) => (missing >>> i) & 1)
    .map((i) => `${place}[${i}]`);
}

void t.test('every reason of a refusal, and no other, follows from the capture alone', async (t) => {
  let refusals = 0;
  fc.assert(
    fc.property(anyHost, anyPair, (id, pair) => {
      const host = named(id);
      const { cpu, expansion } = resolveCpu({ machine: pair.machine, cpu: cpuOf(pair), definitions });
      const { reasons } = lacksOf(cpu, expansion.withoutNeeds, host);
      const capture = JSON.parse(JSON.stringify(captureToJson(host))) as Parameters<typeof lacksAgain>[0];
      const table = JSON.parse(JSON.stringify(cpuidTables(cpu)[0]!.cpuid)) as Parameters<typeof lacksAgain>[1];
      const msrs = dictionary.words
        .filter(({ msr }) => msr !== null)
        .flatMap(({ field, features: bits }) =>
          bits.filter(({ qemu: [name] }) => name && cpu.on(name)).map(({ bit }) => [field, bit] as const),
        );
      const again = [...lacksAgain(capture, table), ...msrLacksAgain(capture, msrs)].sort();
      const said = reasons.filter(({ code }) => code !== 'feature-needs').flatMap(places);
      if (said.length > 0) refusals++;
      const strictly = [...new Set(said)].sort();
      if (JSON.stringify(strictly) !== JSON.stringify(again))
        throw new Error(`${strictly.join()} is not ${again.join()}`);
    }),
    { seed: 11, numRuns: 600 },
  );
  t.ok(refusals > 300, `${refusals} refusals were reckoned again`);
});

void t.test('enforce accepts exactly where filtering removes nothing, and accepts what is left', async (t) => {
  let accepted = 0;
  fc.assert(
    fc.property(anyHost, anyPair, (id, pair) => {
      const host = named(id);
      const { cpu, expansion } = resolveCpu({ machine: pair.machine, cpu: cpuOf(pair), definitions });
      const { removed, cpu: left } = filterCpu(cpu, host);
      const accepts = isOffered(cpu, [], host);
      if (accepts) accepted++;
      const { reasons } = lacksOf(cpu, expansion.withoutNeeds, host);
      return (
        accepts === (removed.length === 0) &&
        (reasons.length === 0) === (accepts && expansion.withoutNeeds.length === 0) &&
        isOffered(left, [], host) &&
        removed.every((name) => cpu.on(name) && !left.on(name))
      );
    }),
    { seed: 12, numRuns: 600 },
  );
  t.ok(accepted > 20, `${accepted} pairs were accepted`);
});

void t.test('host is offered whole, max holds it, best is a named model that runs; none is safe to move', async (t) => {
  for (const { id, host } of hosts) {
    const on = (cpu: string) => resolveOnHost({ machine: 'pc-next', cpu, host, definitions });
    const [own, all, best] = [on('host'), on('max'), on('best')];
    for (const one of [own, all, best]) {
      t.strictSame(one.lacks.reasons, [], `${id} ${one.pair}`);
      t.equal(one.migrationSafe, false);
    }
    t.strictSame(
      own.identity.features.filter((name) => !all.identity.features.includes(name)),
      [],
    );
    t.equal(own.identity.vendor, host.facts.cpuVendor);
    t.ok(isOffered(resolveCpu({ machine: 'pc-next', cpu: best.model, definitions }).cpu, [], host), best.model);
    t.notOk(own.identity.features.includes('topoext'));
  }
});

const EPYC = hosts.find(({ id }) => id.startsWith('EPYC/6.12'))!.host;

/** A host that offers an invariant TSC, whose guests QEMU does not migrate. */
const STEADY: HostCapabilities = {
  ...EPYC,
  supportedCpuid: new CpuidTable(
    EPYC.supportedCpuid.rows.map((row) => (row.leaf === 0x80000007 ? { ...row, edx: row.edx | (1 << 8) } : row)),
  ),
};

// QEMU's tests/qtest/test-x86-cpuid-compat.c: max+invtsc, max-mmx.
void t.test('max alone has what cannot be migrated, and flags turn it on and off', async (t) => {
  const bit = (cpu: string, leaf: number, number: number): number => {
    const { vcpus } = resolveOnHost({ machine: 'pc', cpu, host: STEADY, definitions }).identity;
    return (vcpus[0]!.cpuid.value(leaf, null, 'edx') >>> number) & 1;
  };
  t.equal(bit('max', 0x80000007, 8), 1);
  t.equal(bit('host', 0x80000007, 8), 0);
  t.equal(bit('max,invtsc=off', 0x80000007, 8), 0);
  t.equal(bit('host,invtsc=on', 0x80000007, 8), 1);
  t.equal(bit('max', 1, 23), 1);
  t.equal(bit('max,mmx=off', 1, 23), 0);
});

void t.test("a refusal has QEMU's two shapes, and names the layer that took each feature away", async (t) => {
  const { mode, lacks, removed, identity, migrationSafe } = resolveOnHost({
    ...{ machine: 'pc-i440fx-2.4', cpu: 'Nehalem,+avx512f,+erms,+monitor,enforce', host: EPYC, definitions },
  });
  t.equal(mode, 'enforce');
  t.equal(migrationSafe, false);
  t.strictSame(lacks.unavailable, ['monitor', 'vme', 'erms', 'avx512f']);
  t.strictSame(lacks.filtered, [
    { 'cpuid-input-eax': 1, 'cpuid-register': 'ECX', features: 0x8 },
    { 'cpuid-input-eax': 1, 'cpuid-register': 'EDX', features: 0x2 },
    { 'cpuid-input-eax': 7, 'cpuid-input-ecx': 0, 'cpuid-register': 'EBX', features: 0x10200 },
  ]);
  const layers = Object.fromEntries(lacks.reasons.map(({ feature, layer }) => [feature, layer]));
  t.strictSame(layers, { monitor: 'kernel', vme: 'host-cpu', erms: 'host-cpu', avx512f: 'host-cpu' });
  t.strictSame([...removed].sort(), ['avx512f', 'erms', 'monitor', 'vme']);
  t.notOk(identity.features.some((name) => removed.includes(name)));
});

void t.test('a feature whose needs were not asked for is refused, though the host offers it', async (t) => {
  const request = { machine: 'pc-next', host: EPYC, definitions };
  t.throws(() => resolveOnHost({ ...request, cpu: 'qemu64,+npt,enforce' }), { code: 'feature-without-need' });
  const { mode, lacks } = resolveOnHost({ ...request, cpu: 'qemu64,+npt' });
  t.equal(mode, 'check');
  t.match(lacks.reasons, [{ code: 'feature-needs', feature: 'npt', layer: 'monitor', message: /svm/ }]);
  t.strictSame(lacks.unavailable, ['npt']);
});

void t.test('a state component goes with the features that bring it in', async (t) => {
  const { lacks, removed } = resolveOnHost({ machine: 'pc-next', cpu: 'qemu64,+xsave,+pku', host: EPYC, definitions });
  t.match(lacks.reasons, [
    { feature: 'pku', leaf: '0x00000007' },
    { leaf: '0x0000000d', bit: 9, layer: 'host-cpu' },
  ]);
  t.strictSame(lacks.unavailable, ['pku']);
  t.strictSame(removed, ['pku']);
});

void t.test("AVX10 is asked for by lengths and version: a host's higher version is no other CPU", async (t) => {
  const at = (host: HostCapabilities) =>
    resolveOnHost({ machine: 'pc-next', cpu: 'qemu64,+avx10,avx10-version=1', host, definitions }).lacks;
  const without = at(EPYC);
  t.strictSame(without.unavailable, ['avx10', 'avx10-128', 'avx10-256', 'avx10-512']);
  t.strictSame(without.filtered.at(-1), {
    ...{ 'cpuid-input-eax': 0x24, 'cpuid-input-ecx': 0, 'cpuid-register': 'EBX', features: 0x70000 },
  });
  const row = { leaf: 0x24, subleaf: 0, eax: 0, ecx: 0, edx: 0 };
  const having = (ebx: number): HostCapabilities => ({
    ...EPYC,
    supportedCpuid: new CpuidTable([...EPYC.supportedCpuid.rows, { ...row, ebx }]),
  });
  const reasons = (ebx: number) => at(having(ebx)).reasons.filter(({ leaf }) => leaf === '0x00000024');
  t.strictSame(reasons(0x7_0002), []);
  t.match(reasons(0x3_0001), [{ code: 'cpuid-not-offered', bit: 18, feature: 'avx10-512' }]);
  t.match(reasons(0x7_0000), [{ code: 'cpuid-content-differs', register: 'ebx' }]);
  t.notOk(
    at(having(0x7_0000)).filtered.some((word) => word['cpuid-input-eax'] === 0x24),
    'a number is no feature',
  );
});

void t.test('physical address bits beyond the 40 that QEMU shows everywhere must be there', async (t) => {
  const at = (cpu: string) => resolveOnHost({ machine: 'pc-next', cpu, host: EPYC, definitions });
  t.match(at('qemu64,phys-bits=46').lacks.reasons, [{ code: 'cpuid-content-differs', leaf: '0x80000008' }]);
  t.strictSame(at('qemu64,phys-bits=40').lacks.reasons, []);
  t.match(at('qemu64,host-phys-bits=on'), { lacks: { reasons: [] }, migrationSafe: false });
});

void t.test('models that follow a host need one', async (t) => {
  for (const cpu of ['host', 'max,-aes', 'best'])
    t.throws(() => resolveCpu({ machine: 'pc-next', cpu, definitions }), { code: 'host-needed', message: /--host/ });
});
