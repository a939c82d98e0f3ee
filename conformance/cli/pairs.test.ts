/** From options to pairs. */
import t from 'tap';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { resolvePair, selectPairs } from './pairs.js';

const definitions = builtInDefinitions();

// QEMU hw/i386/pc_piix.c: prefer_sockets up to pc-i440fx-6.1.
void t.test('a shape is completed as the machine type of its pair does', async (t) => {
  const options = {
    machine: ['pc-i440fx-6.1', 'pc-i440fx-6.2', 'pc-q35-11.1', 'pc-next'],
    cpu: ['Nehalem'],
    smp: ['4', '8c4t2'],
  };
  const pairs = selectPairs(options, definitions);
  t.strictSame(
    pairs.map(({ smp }) => smp),
    ['4s4', '8c4t2', '4c4', '8c4t2', '4c4', '8c4t2', '4c4', '8c4t2'],
  );
  for (const pair of pairs.filter(({ smp }) => smp.startsWith('4')))
    t.strictSame(
      resolvePair(pair, definitions).vcpus,
      resolve({ machine: pair.machine, cpu: pair.cpu, smp: '4', definitions }).vcpus,
      pair.machine,
    );
});
