import fc from 'fast-check';
import t from 'tap';
import { fieldName } from '../../corpora/cpuid.js';
import { featureDictionary } from '../../corpora/features.js';
import { listModels, resolve } from './resolve.js';

const MACHINES = ['pc-1.0', 'pc-i440fx-2.4', 'pc-i440fx-2.9', 'pc-q35-6.0', 'pc-i440fx-9.1', 'pc-q35-11.1'];
const pairs = MACHINES.flatMap((machine) => listModels(machine).map(({ name }) => ({ machine, model: name })));
const dictionary = featureDictionary();
const names = [...dictionary.names()].filter((name) =>
  dictionary.bitsOf(name).every(({ field }) => dictionary.word(field)!.cpuid),
);

/** All values of feature words of a pair. */
function wordsOf(machine: string, cpu: string): Map<string, number> {
  const table = resolve({ machine, cpu }).vcpus[0]!.cpuid;
  return new Map(
    dictionary.words.flatMap(({ cpuid }) =>
      cpuid ? [[fieldName(cpuid), table.value(cpuid.leaf, cpuid.subleaf, cpuid.register)] as const] : [],
    ),
  );
}

/** Features that may come or go with another: those that it needs, or that need it. */
function withDependents(name: string): Set<string> {
  const found = new Set([name]);
  for (let size = 0; size !== found.size; ) {
    size = found.size;
    for (const { needs, features } of dictionary.dependencies) {
      if (needs.some((need) => found.has(need))) for (const feature of features) found.add(feature);
    }
  }
  return found;
}

/**
 * Words that a level brings to light or hides change as a whole: that is the documented rule of automatic levels. AMD repeats 1.EDX in
 * 80000001.EDX; the version of AVX10 stands beside its vector lengths; leaf 0xD is there with XSAVE only, leaf 0x14 with Intel PT only.
 */
void t.test('a feature changes its own bit, what depends on it, and levels; no other word', async (t) => {
  const problems: string[] = [];
  fc.assert(
    fc.property(fc.constantFrom(...pairs), fc.constantFrom(...names), fc.boolean(), ({ machine, model }, name, on) => {
      const level = 'level=0x29,xlevel=0x80000022,xlevel2=0xc0000001,level-func7=2';
      const before = wordsOf(machine, `${model},${level}`);
      const after = wordsOf(machine, `${model},${level},${name}=${on ? 'on' : 'off'}`);
      const allowed = new Map<string, number>();
      const allow = (field: string, bits: number): void => void allowed.set(field, (allowed.get(field) ?? 0) | bits);
      for (const one of withDependents(name)) {
        for (const { field, bit } of dictionary.bitsOf(one)) {
          allow(field, 1 << bit);
          if (field === '1.EDX') allow('80000001.EDX', 1 << bit);
        }
      }
      if (name.startsWith('avx10')) allow('24.0.EBX', 0xff);
      if (name === 'intel-pt') allow('14.0.ECX', 0x7);
      if (name === 'xsave') allow('D.1.EAX', 0x1f);
      for (const [field, value] of before) {
        const other = (value ^ after.get(field)!) & ~(allowed.get(field) ?? 0);
        if (other) problems.push(`${machine}/${model} ${name}=${on}: ${field} ${other.toString(16)}`);
      }
      return problems.length === 0;
    }),
    { seed: 19, numRuns: 400, endOnFailure: true },
  );
  t.same(problems, []);
});

void t.test('resolving is deterministic', async () => {
  fc.assert(
    fc.property(fc.constantFrom(...pairs), fc.constantFrom(...names), ({ machine, model }, name) => {
      const once = (): string => JSON.stringify(resolve({ machine, cpu: `${model},+${name}` }).vcpus);
      const first = once();
      return once() === first;
    }),
    { seed: 23, numRuns: 50 },
  );
});
