/** The smallest cell that shows the same symptom: fewer vCPUs, fewer hosts, a shorter life. */
import type { Scenario } from '../../corpora/verdict.js';
import { symptomOf } from './symptom.js';

/** What of a cell can be made smaller. */
export interface Size<H> {
  readonly smp: string;
  readonly hosts: readonly H[];
  readonly scenario: Scenario;
}

/** Smaller cells of the same pair, smallest first; none that is the cell itself. */
export function smaller<H>({ smp, hosts, scenario }: Size<H>): Size<H>[] {
  const places = [...new Set(hosts)];
  const boots = places.map((host): Omit<Size<H>, 'smp'> => ({ hosts: [host], scenario: 'boot' }));
  const lives = [...(scenario === 'boot' ? [] : boots), { hosts, scenario }];
  const shapes = smp === '1' ? ['1'] : ['1', smp];
  return shapes
    .flatMap((shape) => lives.map((life) => ({ ...life, smp: shape })))
    .filter((size) => size.smp !== smp || size.scenario !== scenario);
}

/** Runs smaller cells until one shows the symptom; null where none does. */
export async function minimise<H, E extends { readonly result: Parameters<typeof symptomOf>[0] }>(
  size: Size<H>,
  symptom: string,
  run: (size: Size<H>) => Promise<E>,
): Promise<{ readonly size: Size<H>; readonly end: E } | null> {
  for (const candidate of smaller(size)) {
    const end = await run(candidate);
    if (symptomOf(end.result) === symptom) return { size: candidate, end };
  }
  return null;
}
