import fc from 'fast-check';
import t from 'tap';
import { InputError } from './errors.js';
import { type CpuOption, formatCpu, formatPair, parseCpu, parsePair } from './pair.js';

void t.test('a -cpu string is a model name, then flags and properties in the order given', async (t) => {
  t.same(parseCpu('Nehalem,+aes,level=4,sse4.1=off,pmu'), {
    model: 'Nehalem',
    options: [
      { kind: 'plus', name: 'aes' },
      { kind: 'set', name: 'level', value: '4' },
      { kind: 'set', name: 'sse4.1', value: 'off' },
      { kind: 'set', name: 'pmu', value: 'on' },
    ],
  });
});

void t.test('a pair is a machine type and a -cpu string', async (t) => {
  t.same(parsePair('pc-i440fx-2.3/Nehalem,+aes'), { machine: 'pc-i440fx-2.3', cpu: parseCpu('Nehalem,+aes') });
});

void t.test('what is malformed is refused', async (t) => {
  for (const bad of ['', ',+aes', 'Nehalem,', 'Nehalem,,+aes', 'Nehalem,+aes=on', 'Neha lem', 'Nehalem,=4']) {
    t.throws(() => parseCpu(bad), InputError, bad);
  }
  for (const bad of ['Nehalem', '/Nehalem', 'pc-1.0/']) t.throws(() => parsePair(bad), InputError, bad);
});

const name = fc.stringMatching(/^[a-z][a-z0-9._-]{0,12}$/);
const option: fc.Arbitrary<CpuOption> = fc.oneof(
  fc.record({ kind: fc.constantFrom('plus' as const, 'minus' as const), name }),
  fc.record({ kind: fc.constant('set' as const), name, value: fc.stringMatching(/^[^,]{0,20}$/) }),
);

void t.test('what is written reads back as the same', async () => {
  fc.assert(
    fc.property(name, fc.array(option, { maxLength: 6 }), (model, options) => {
      const cpu = { model, options };
      const read = parsePair(formatPair({ machine: 'pc-1.0', cpu }));
      return JSON.stringify(read.cpu) === JSON.stringify(cpu) && formatCpu(read.cpu) === formatCpu(cpu);
    }),
    { seed: 3 },
  );
});
