/** Resolves every model of every machine type, and prints how long that took; a process of its own, so that its peak memory is its own. */
import { listMachines, listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { peakMemory } from './machine-facts.js';
import type { ResolveAll } from './resolving.js';

const start = performance.now();
let pairs = 0;
for (const { name: machine } of listMachines())
  for (const { name: cpu } of listModels(machine)) pairs += resolve({ machine, cpu }).vcpus.length;
const result: ResolveAll = { pairs, milliseconds: performance.now() - start, peakMemory: peakMemory() };
console.log(JSON.stringify(result));
