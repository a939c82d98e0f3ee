/** Values that pairs without a contract must show all the same: those that a regression once got wrong (`corpora/regressions`). */
import { featureName } from '../../corpora/features.js';
import { parseHex32 } from '../../corpora/hex.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { regressions } from '../../corpora/regressions.js';
import type { Reason } from '../../corpora/verdict.js';
import { registerReasons } from '../../reference-vmm/cpu-model/differences.js';
import { parseField } from '../regressions/fields.js';

let byPair: ReadonlyMap<string, readonly [field: string, value: string][]> | undefined;

function pinsOf(pair: string): readonly [field: string, value: string][] {
  byPair ??= new Map(
    regressions().flatMap(({ pins = {} }) => Object.entries(pins).map(([of, fields]) => [of, Object.entries(fields)])),
  );
  return byPair.get(pair) ?? [];
}

/** Every bit in which a pair resolves otherwise than it is pinned. */
export const unpinned = ({ pair, vcpus }: Pick<CpuIdentity, 'pair' | 'vcpus'>): Reason[] =>
  pinsOf(pair).flatMap(([text, value]) => {
    const { leaf, subleaf, register } = parseField(text);
    const field = { leaf, subleaf, register: register! };
    const [wanted, got] = [parseHex32(value), vcpus[0]!.cpuid.value(leaf, subleaf, register!)];
    if (wanted === got) return [];
    const place = { step: 'resolve', vcpu: 0, nameOf: featureName };
    return registerReasons({ ...field, wanted, got }, (wanted ^ got) >>> 0, place, PINNED);
  });

const PINNED = { code: 'definition-altered', layer: 'monitor', verb: 'definition shows' } as const;
