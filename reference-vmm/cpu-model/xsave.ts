/** Leaf 0xD: XSAVE state components, from features and the layout that the host's CPU has (dimension `xsave-layout`). */
import type { Registers } from './caches.js';
import type { ExpandedCpu } from './cpu.js';

export type XsaveLayout = 'intel' | 'amd';

/** A state component; one without offsets is a supervisor component (IA32_XSS). */
interface Component {
  readonly bit: number;
  /** On where one of these is. */
  readonly features: readonly string[];
  readonly size: number;
  readonly offset?: Readonly<Record<XsaveLayout, number>>;
  /** Aligned to 64 bytes in the compacted form (SDM vol. 1, 13.4.3). */
  readonly align?: boolean;
  /** Extended feature disable (SDM vol. 1, 13.14). */
  readonly xfd?: boolean;
}

const AVX512 = ['avx512f', 'avx10'];

/**
 * Offsets of the standard form: the CPU has them and KVM cannot move them. Intel's are in SDM vol. 1, 13.4.2; AMD leaves out
 * MPX and begins AVX-512 right after YMM (APM vol. 2, 11.5.2; read on EPYC-Genoa: PKRU at 0x980).
 */
const COMPONENTS: readonly Component[] = [
  { bit: 2, features: ['avx'], size: 0x100, offset: { intel: 0x240, amd: 0x240 } },
  { bit: 3, features: ['mpx'], size: 0x40, offset: { intel: 0x3c0, amd: 0x3c0 } },
  { bit: 4, features: ['mpx'], size: 0x40, offset: { intel: 0x400, amd: 0x400 } },
  { bit: 5, features: AVX512, size: 0x40, offset: { intel: 0x440, amd: 0x340 } },
  { bit: 6, features: AVX512, size: 0x200, offset: { intel: 0x480, amd: 0x380 } },
  { bit: 7, features: AVX512, size: 0x400, offset: { intel: 0x680, amd: 0x580 } },
  { bit: 9, features: ['pku'], size: 0x8, offset: { intel: 0xa80, amd: 0x980 } },
  { bit: 11, features: ['cet-ss', 'cet-ibt'], size: 0x10 },
  { bit: 12, features: ['cet-ss'], size: 0x18 },
  { bit: 15, features: ['arch-lbr'], size: 0x328 },
  { bit: 17, features: ['amx-tile'], size: 0x40, offset: { intel: 0xac0, amd: 0xac0 }, align: true },
  { bit: 18, features: ['amx-tile'], size: 0x2000, offset: { intel: 0xb00, amd: 0xb00 }, align: true, xfd: true },
  { bit: 19, features: ['apxf'], size: 0x80, offset: { intel: 0x3c0, amd: 0x3c0 }, align: true },
];

/** The features that bring a state component in (QEMU names an XSAVE bit by them too); x87 and SSE come with XSAVE itself. */
export const componentFeatures = (bit: number): readonly string[] =>
  bit < 2 ? ['xsave'] : (COMPONENTS.find((one) => one.bit === bit)?.features ?? []);

/** FXSAVE image and XSAVE header. */
const LEGACY_SIZE = 0x240;

/** The layout of a CPU: as asked for, else its model's vendor's; TCG's own is Intel's. */
export function xsaveLayout(cpu: ExpandedCpu): XsaveLayout {
  const given = cpu.text('xsave-layout');
  if (given === 'intel' || given === 'amd') return given;
  if (cpu.accelerator === 'tcg') return 'intel';
  return cpu.isAmd || cpu.isHygon ? 'amd' : 'intel';
}

/** All subleaves of leaf 0xD that are not zero; none without XSAVE. */
export function xsaveLeaf(cpu: ExpandedCpu): Map<number, Registers> {
  const leaf = new Map<number, Registers>();
  if (!cpu.on('xsave')) return leaf;
  const layout = xsaveLayout(cpu);
  const present = COMPONENTS.filter((component) => isPresent(component, cpu));
  const user = present.filter(({ offset }) => offset);
  const supervisor = present.filter(({ offset }) => !offset);
  const size = Math.max(LEGACY_SIZE, ...user.map((one) => one.offset![layout] + one.size));
  leaf.set(0, { eax: mask(user) | 3, ebx: size, ecx: size, edx: 0 });
  const [xcr0, xss] = [cpu.word(0xd, 1, 'eax'), mask(supervisor)];
  const compacted = cpu.behaviours.has('no-compacted-size') ? 0 : compactedSize(present);
  leaf.set(1, { eax: xcr0, ebx: compacted, ecx: xss, edx: 0 });
  const listed = cpu.behaviours.has('tcg-lists-absent-components') ? [...TCG_AREAS, ...present] : present;
  for (const { bit, size: bytes, offset, align, xfd } of listed) {
    leaf.set(bit, {
      eax: bytes,
      ebx: offset ? offset[layout] : 0,
      ecx: (offset ? 0 : 1) | (align ? 2 : 0) | (xfd ? 4 : 0),
      edx: 0,
    });
  }
  return leaf;
}

/** Components that TCG has state for. */
const TCG_STATE: ReadonlySet<number> = new Set([2, 3, 4, 9]);

/** What TCG's leaf tells of every component up to PKRU; those without state have no size. */
const TCG_AREAS = COMPONENTS.filter(({ bit }) => bit <= 9).map((one) =>
  TCG_STATE.has(one.bit) ? one : { ...one, size: 0 },
);

function isPresent({ bit, features }: Component, cpu: ExpandedCpu): boolean {
  if (cpu.behaviours.has('tcg-four-xsave-components') && !TCG_STATE.has(bit)) return false;
  if (!features.some((name) => cpu.on(name))) return false;
  // Architectural LBRs are state only where the PMU records them and XSAVES can save them.
  if (bit === 15) return cpu.on('pmu') && cpu.on('xsaves');
  return true;
}

const mask = (components: readonly Component[]): number =>
  components.reduce((bits, { bit }) => (bits | (1 << bit)) >>> 0, 0);

/** Size of the compacted form with every component on (SDM vol. 1, 13.4.3). */
function compactedSize(components: readonly Component[]): number {
  let size = LEGACY_SIZE;
  for (const component of components) {
    if (component.align) size = Math.ceil(size / 64) * 64;
    size += component.size;
  }
  return size;
}
