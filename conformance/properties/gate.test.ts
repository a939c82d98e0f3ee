/** The gate calls a pair broken exactly where resolving it before and after the edit, one by one, gives another CPU. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { CONTRACT_SHAPES } from '../../corpora/contracts.js';
import { builtInDefinitions, type Definitions, type PropertyValue } from '../../corpora/definitions.js';
import { featureDictionary } from '../../corpora/features.js';
import { hex64 } from '../../corpora/hex.js';
import { listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { compareDefinitions } from '../gate/compare-definitions.js';
import { ResolvedPairs } from '../gate/resolved.js';
import { holds } from './property.js';

const base = builtInDefinitions();
const MODELS = Object.keys(base.modelIndex.models).filter((name) => name !== 'base');
const MACHINES = base.machineIndex.machines.filter((name) => base.machine(name).follows !== true);

interface Edit {
  readonly model: string;
  /** Where the property is set: in the model itself, in a version, or in a machine type's compat properties. */
  readonly where: 'model' | 'version' | { readonly machine: string; readonly all: boolean };
  readonly property: string;
  readonly value: PropertyValue;
}

const property: fc.Arbitrary<Pick<Edit, 'property' | 'value'>> = fc.oneof(
  fc.record({ property: fc.constantFrom(...featureDictionary().names()), value: fc.boolean() }),
  fc.record({
    property: fc.constantFrom('min-level', 'min-xlevel', 'stepping', 'model', 'phys-bits', 'ucode-rev'),
    value: fc.constantFrom(2, 4, 7, 11, 13, 36, 0x80000008, 0x8000000a),
  }),
  fc.record({ property: fc.constantFrom('l3-cache', 'legacy-cache', 'pmu', 'cpuid-0xb'), value: fc.boolean() }),
);
const edit: fc.Arbitrary<Edit> = fc
  .record({
    model: fc.constantFrom(...MODELS),
    where: fc.oneof(
      fc.constantFrom('model' as const, 'version' as const),
      fc.record({ machine: fc.constantFrom(...MACHINES), all: fc.boolean() }),
    ),
    change: property,
  })
  .map(({ change, ...rest }) => ({ ...rest, ...change }));

function edited({ model, where, property: name, value }: Edit): Definitions {
  if (typeof where === 'object') {
    const machine = base.machine(where.machine);
    const type = where.all ? 'x86_64-cpu' : `${model}-x86_64-cpu`;
    const compat = [...machine.compat, { type, property: name, value }];
    return base.changed([[`machine-types/${where.machine}.json`, { ...machine, compat }]]);
  }
  const definition = base.model(model);
  const versions = definition.versions.map((one, i, all) =>
    i === all.length - 1 ? { ...one, properties: { ...one.properties, [name]: value } } : one,
  );
  const properties = { ...definition.properties, [name]: value };
  const now = where === 'model' ? { ...definition, properties } : { ...definition, versions };
  return base.changed([[`cpu-models/${base.modelIndex.models[model]}`, now]]);
}

/** Everything that a guest can read of a pair, as text; its error where it cannot be made. */
function shown(machine: string, cpu: string, definitions: Definitions): string {
  try {
    return CONTRACT_SHAPES.map((smp) => {
      const { vcpus, msrs } = resolve({ machine, cpu, smp, definitions });
      return JSON.stringify([vcpus, msrs.map(({ index, value }) => [index, hex64(value)])]);
    }).join('\n');
  } catch (error) {
    return String(error);
  }
}

void t.test('ABI-DEF-001: a random edit breaks exactly the pairs that resolve otherwise after it', async (t) => {
  let broke = 0;
  await holds(
    t,
    fc.tuple(edit, fc.uniqueArray(fc.constantFrom(...MACHINES), { minLength: 2, maxLength: 3 })),
    ([change, machines]) => {
      const head = edited(change);
      const asked = typeof change.where === 'object' ? [...new Set([...machines, change.where.machine])] : machines;
      const names = (machine: string): string[] =>
        listModels(machine, base)
          .map(({ name }) => name)
          .filter((name) => name === change.model || name.startsWith(`${change.model}-`));
      const expected = asked.flatMap((machine) =>
        names(machine)
          .filter((name) => shown(machine, name, base) !== shown(machine, name, head))
          .map((name) => `${machine}/${name}`),
      );
      const { changes } = compareDefinitions(
        base,
        head,
        new ResolvedPairs(),
        ({ machine, model }) => asked.includes(machine) && names(machine).includes(model),
      );
      broke += expected.length > 0 ? 1 : 0;
      assert.deepEqual(changes.map(({ machine, model }) => `${machine}/${model}`).sort(), expected.sort());
    },
    { seed: 20261125, runs: 20 },
  );
  t.ok(broke > 4, `${broke} of the edits broke something`);
});
