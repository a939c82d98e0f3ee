/** Resolving is a pure function of the pair and the definitions: the same again and again, on any host. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { Definitions } from '../../corpora/definitions.js';
import { identityFromJson, identityToJson } from '../../corpora/identity.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { closedPair, type GeneratedPair } from './arbitraries.js';
import { holds } from './property.js';

const text = (pair: GeneratedPair, definitions?: Definitions): string =>
  JSON.stringify(identityToJson(resolve({ ...pair, ...(definitions && { definitions }) })));

void t.test('ABI-DEF-001: a pair resolves to the same identity, whatever was resolved before', async (t) => {
  await holds(
    t,
    fc.tuple(closedPair, fc.array(closedPair, { maxLength: 3 })),
    ([pair, others]) => {
      const first = text(pair);
      for (const other of others) text(other);
      assert.equal(text(pair), first);
      assert.equal(text(pair, new Definitions([])), first, 'with definitions read anew');
      assert.equal(JSON.stringify(identityToJson(identityFromJson(JSON.parse(first)))), first);
    },
    { seed: 1, runs: 60 },
  );
});

const DIST = fileURLToPath(new URL('../../', import.meta.url));
const IMPORT = /(?:from|import|load|require)\s*\(?\s*['"]([^'"]+)['"]/g;

/** Files, and zod (loaded late) for those of users. */
const MAY_REACH = ['node:fs', 'node:path', 'node:url', 'node:module', 'zod'];

/** All modules that a module reaches, ours by path, others by name. */
function reachedFrom(entry: string): Set<string> {
  const reached = new Set<string>();
  const follow = (file: string): void => {
    if (reached.has(relative(DIST, file))) return;
    reached.add(relative(DIST, file));
    for (const [, name] of readFileSync(file, 'utf8').matchAll(IMPORT)) {
      if (name!.startsWith('.')) follow(join(dirname(file), name!));
      else reached.add(name!);
    }
  };
  follow(join(DIST, entry));
  return reached;
}

void t.test(
  'ABI-DEF-001: resolving cannot ask the host: it reaches files of definitions, and nothing else of the system',
  async (t) => {
    const reached = [...reachedFrom('reference-vmm/cpu-model/resolve.js')];
    t.ok(reached.includes('corpora/cpuid.js'), 'the walk follows imports');
    t.ok(reachedFrom('reference-vmm/kvm/system.js').has('koffi'), 'and sees who reaches the kernel');
    const outside = reached.filter((name) => !/^(corpora|reference-vmm\/cpu-model)\//.test(name));
    t.same(
      outside.filter((name) => !MAY_REACH.includes(name)),
      [],
    );
  },
);
