/** From what a guest sees to the property of QEMU that decides it: compat lines for breaks between two binaries, whose source we do not have. */
import type { Reason } from '../../corpora/verdict.js';
import { compatLine } from './compat-fix.js';
import type { CompatLine } from './result.js';

/** Values of CPUID fields as QEMU's properties have them; none where no property decides the field. */
export function qemuFix(
  models: readonly string[],
  machines: readonly string[],
  reasons: readonly Reason[],
): CompatLine[] {
  const wanted = new Map(reasons.flatMap(propertiesFor));
  return models.flatMap((model) =>
    [...wanted].map(([property, value]) => ({
      line: compatLine({ type: `${model}-x86_64-cpu`, property, value }),
      machines,
    })),
  );
}

function propertiesFor({ feature, leaf, register, contract, bit }: Reason): [string, boolean | number][] {
  if (leaf === null || contract === null) return [];
  const value = Number(contract);
  if (feature !== null && bit !== null) return [[feature, ((value >>> bit) & 1) === 1]];
  if (register !== 'eax') return [];
  if (leaf === '0x00000000') return [['min-level', value]];
  if (leaf === '0x80000000') return [['min-xlevel', value]];
  if (leaf === '0x80000008') return [['phys-bits', value & 0xff]];
  if (leaf === '0x00000001' || leaf === '0x80000001') return signature(value);
  return [];
}

/** SDM vol. 2A, CPUID 1.EAX. */
function signature(eax: number): [string, number][] {
  const family = (eax >>> 8) & 0xf;
  const extended = family === 0xf ? (eax >>> 20) & 0xff : 0;
  return [
    ['family', family + extended],
    ['model', ((eax >>> 4) & 0xf) | (((eax >>> 16) & 0xf) << 4)],
    ['stepping', eax & 0xf],
  ];
}
