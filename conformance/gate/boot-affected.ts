/** Boots what an edit changed: the guest of the new definitions on real hosts, held to what was promised. */
import type { CellResult } from '../../corpora/verdict.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type { Host } from '../hosts/host.js';
import { cellsOf } from '../run/cell.js';
import { runCells } from '../run/runner.js';
import type { GitGate } from './gate-git.js';

/** One boot per affected pair and host. What is new has no promise yet and is held to what it resolves to. */
export async function bootAffected({ affected, head, base }: GitGate, hosts: readonly Host[]): Promise<CellResult[]> {
  const pairs = affected.map(({ machine, model }) => ({
    identity: resolve({ machine, cpu: model, smp: '1', definitions: head }),
    smp: '1',
  }));
  const options = { allowAltered: false, forceFeatures: false, jobs: 1, definitions: base, runBroken: true };
  const results: CellResult[] = [];
  for await (const { result } of runCells(cellsOf(pairs, hosts, ['boot']), options)) results.push(result);
  return results;
}
