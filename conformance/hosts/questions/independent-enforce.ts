/**
 * For tests: what a host lacks for a CPUID table, worked out a second time from the capture's text alone. It shares no code with the
 * monitor's rule: its words, additions and names are written down here once more, from QEMU's kvm_arch_get_supported_cpuid, the SDM and the APM.
 */

interface Row {
  readonly leaf: string;
  readonly subleaf: string | null;
  readonly eax: string;
  readonly ebx: string;
  readonly ecx: string;
  readonly edx: string;
}

/** A capture file, as JSON.parse gives it. */
export interface CaptureText {
  readonly supportedCpuid: readonly Row[];
  readonly hostCpuid: readonly Row[];
  readonly cpuidAdditions: readonly Row[];
  readonly cpuidRemovals?: readonly Row[];
  readonly msrIndices: readonly string[];
  readonly featureMsrs: readonly { readonly index: string; readonly value: string }[];
  readonly capabilities: Readonly<Record<string, number>>;
}

type Name = 'eax' | 'ebx' | 'ecx' | 'edx';
const NAMES: readonly Name[] = ['eax', 'ebx', 'ecx', 'edx'];

function register(rows: readonly Row[], leaf: number, subleaf: number, name: Name): bigint {
  const row = rows.find((one) => Number(one.leaf) === leaf && Number(one.subleaf ?? '0x0') === subleaf);
  return BigInt(row?.[name] ?? '0x0');
}

/** leaf.subleaf.register of every set of features. */
const SETS = new Set(
  `1.0.ecx 1.0.edx 6.0.eax 7.0.ebx 7.0.ecx 7.0.edx 7.1.eax 7.1.ebx 7.1.ecx 7.1.edx 7.2.edx d.0.eax d.0.edx d.1.eax d.1.ecx
  d.1.edx 19.0.ebx 24.1.ecx 40000001.0.eax 40000001.0.edx 80000001.0.ecx 80000001.0.edx 80000007.0.ebx 80000007.0.edx 80000008.0.ebx
  8000000a.0.edx 8000001f.0.eax 80000021.0.eax 80000021.0.ecx 80000022.0.eax c0000001.0.edx 29.0.ebx`.split(/\s+/),
);

/** Leaves that are the hardware's own content. */
const CONTENTS = new Set([0xa, 0x12, 0x14, 0x1c, 0x1d, 0x1e, 0x23]);

/** Bits given beyond the list, whatever the host. */
const ALWAYS: Readonly<Record<string, bigint>> = {
  '1.0.ecx': 1n << 31n,
  '1.0.edx': 1n << 28n,
  '6.0.eax': 1n << 2n,
  '80000001.0.ecx': 1n << 22n,
  '80000007.0.ebx': 3n,
  '40000001.0.eax': 1n << 15n,
  '40000001.0.edx': 1n,
};
/** Bits given beyond the list where the CPU has them. */
const OF_CPU: Readonly<Record<string, bigint>> = {
  '7.0.ebx': 1n << 9n,
  '7.0.edx': 1n << 4n,
  '7.1.eax': 7n << 10n,
  '7.2.edx': 1n << 5n,
};
/** APM vol. 3, E.4.2: 1.EDX bits that 80000001.EDX repeats. */
const REPEATED = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 23, 24].reduce(
  (sum, bit) => sum | (1n << BigInt(bit)),
  0n,
);

function given(capture: CaptureText, leaf: number, subleaf: number, name: Name): bigint {
  const place = `${leaf.toString(16)}.${subleaf}.${name}`;
  let bits =
    register(capture.supportedCpuid, leaf, subleaf, name) | register(capture.cpuidAdditions, leaf, subleaf, name);
  bits |= ALWAYS[place] ?? 0n;
  bits |= register(capture.hostCpuid, leaf, subleaf, name) & (OF_CPU[place] ?? 0n);
  if (place === '1.0.ecx' && capture.capabilities.KVM_CAP_TSC_DEADLINE_TIMER) bits |= 1n << 24n;
  if (place === '80000001.0.edx') bits |= register(capture.supportedCpuid, 1, 0, 'edx') & REPEATED;
  if (place === '7.0.edx' && !capture.msrIndices.includes('0x0000010a')) bits &= ~(1n << 29n);
  return bits & ~register(capture.cpuidRemovals ?? [], leaf, subleaf, name);
}

/** `1.0.edx[1]` for each bit that is wanted and not given, `d.5.ebx` for content and layout; sorted. */
export function lacksAgain(capture: CaptureText, wanted: readonly Row[]): string[] {
  const lacks: string[] = [];
  for (const row of wanted) {
    const [leaf, subleaf] = [Number(row.leaf), Number(row.subleaf ?? '0x0')];
    for (const name of NAMES) {
      const value = BigInt(row[name]);
      const place = `${leaf.toString(16)}.${subleaf}.${name}`;
      if (SETS.has(place)) {
        const missing = value & ~given(capture, leaf, subleaf, name);
        for (let bit = 0n; bit < 32n; bit++) if ((missing >> bit) & 1n) lacks.push(`${place}[${bit}]`);
      } else if (place === '24.0.ebx') {
        // AVX10: the version in the low byte is a number, the lengths above it are bits.
        const own = register(capture.supportedCpuid, leaf, 0, name);
        if ((value & 0xffn) > (own & 0xffn)) lacks.push(place);
        for (let bit = 8n; bit < 32n; bit++) if (((value & ~own) >> bit) & 1n) lacks.push(`${place}[${bit}]`);
      } else if (CONTENTS.has(leaf)) {
        if (value !== 0n && value !== register(capture.supportedCpuid, leaf, subleaf, name)) lacks.push(place);
      } else if (leaf === 0xd && subleaf >= 2 && (name === 'eax' || name === 'ebx')) {
        const has = capture.hostCpuid.some((one) => Number(one.leaf) === 0xd && Number(one.subleaf) === subleaf);
        if (has && value !== register(capture.hostCpuid, 0xd, subleaf, name)) lacks.push(place);
      } else if (leaf === 0x80000008 && name === 'eax') {
        const [own, asked] = [register(capture.hostCpuid, leaf, 0, 'eax') & 0xffn, value & 0xffn];
        if (asked > 40n && asked > own) lacks.push(place);
      }
    }
  }
  return lacks.sort();
}

/** `0x0000010a[3]` for each bit of a feature MSR that is wanted and not in KVM's value. `wanted`: index and bit. */
export function msrLacksAgain(
  capture: CaptureText,
  wanted: readonly (readonly [index: string, bit: number])[],
): string[] {
  const controls = ['0x0000048b', '0x0000048d', '0x0000048e', '0x0000048f', '0x00000490'];
  return wanted
    .filter(([index, bit]) => {
      const value = BigInt(capture.featureMsrs.find((one) => one.index === index)?.value ?? '0x0');
      if (!controls.includes(index)) return !((value >> BigInt(bit)) & 1n);
      return !((value >> BigInt(bit + 32)) & 1n) || ((value >> BigInt(bit)) & 1n) === 1n;
    })
    .map(([index, bit]) => `${index}[${bit}]`)
    .sort();
}
