/** Cloud Hypervisor's CPU profiles: `*.cpuid.json` (or the older whole file) and `*.msr.json`; a host's value becomes (value & mask) | replacements, and a register that is not listed becomes 0. */
import { type CpuidRow, isIndexedLeaf, REGISTERS, type Register } from '../../corpora/cpuid.js';
import { hex32, hex64, hexShort } from '../../corpora/hex.js';
import { rowName } from './cpu-collector.js';
import {
  type Absent,
  type DumpedCpu,
  type DumpedMsr,
  dumpOf,
  mapRegisters,
  maskedCpu,
  pinnedBits,
  subleafOf,
} from './dump.js';
import type { Format, Parsed, Written } from './format.js';
import { JsonValue } from './json-reader.js';
import { listed, lossesOf, placedRows } from './losses.js';

const absent: Absent = { row: 'zeroed', msr: 'default' };
const ALL = 0xffffffff;
const ALL64 = 2n ** 64n - 1n;
/** A range of subleaves up to this long is written out; a longer one has no end, and is written out up to the last subleaf that a CPU may have (leaf D). */
const LONGEST_RANGE = 64;
const LAST_SUBLEAF = 63;
const VENDORS = new Map([
  ['GenuineIntel', 'Intel'],
  ['AuthenticAMD', 'AMD'],
]);
const holds = {
  absent,
  cpus: 'one',
  rows: true,
  msrs: true,
  flags: false,
  openBits: true,
  faults: false,
  names: false,
  facts: ['hypervisor', 'cpu_vendor', 'permitted_msrs'],
} as const;

export const cloudHypervisorProfile: Format = {
  name: 'cloud-hypervisor-profile',
  title: 'Cloud Hypervisor CPU profile',
  absent,
  speaks: 'bits',
  recognizes: (text) => /"adjustments"/.test(text) && /"cpu_vendor"/.test(text),
  parse(text) {
    const root = JsonValue.parse({ format: this.name, text });
    return root.maybe('hypervisor_type') ? readMsrProfile(root) : readCpuidProfile(root);
  },
  write(dump) {
    const cpu = dump.cpus[0];
    return cpu && cpu.cpuid.size === 0 && cpu.msrs.some((msr) => 'value' in msr)
      ? writeMsrProfile(dump, cpu)
      : writeCpuidProfile(dump, cpu);
  },
};

type Rows = Map<string, { row: CpuidRow; mask: CpuidRow; said: ReadonlySet<Register> }>;

/** What is said twice, or without an end. */
interface Left {
  readonly endless: string[];
  readonly again: string[];
}

function readCpuidProfile(root: JsonValue): Parsed {
  root.only('hypervisor', 'cpu_vendor', 'adjustments', 'compatibility_target');
  const rows: Rows = new Map();
  const left: Left = { endless: [], again: [] };
  for (const pair of root.get('adjustments').items()) readAdjustment(pair, rows, left);
  const facts = { hypervisor: root.get('hypervisor').string(), cpu_vendor: root.get('cpu_vendor').string() };
  const losses = [
    ...(left.endless.length
      ? [`ranges of subleaves without an end, kept up to ${LAST_SUBLEAF}: ${listed([...new Set(left.endless)])}`]
      : []),
    ...(left.again.length ? [`adjusted twice, only the first kept: ${listed(left.again)}`] : []),
    ...(root.maybe('compatibility_target') ? ['left out compatibility_target'] : []),
  ];
  return { dump: dumpOf([maskedCpu(0, [...rows.values()], [], 'stay')], absent, facts), losses };
}

function readAdjustment(pair: JsonValue, rows: Rows, left: Left): void {
  const [place, change, ...more] = pair.items();
  if (!place || !change || more.length) throw pair.fail('expected a pair of a place and its change');
  place.only('leaf', 'sub_leaf', 'register');
  const leaf = place.get('leaf').hex32();
  const range = place.get('sub_leaf');
  range.only('start', 'end');
  const [start, end] = [subleafNumber(range.get('start')), subleafNumber(range.get('end'))];
  if (end < start) throw range.fail('this range ends before it starts');
  const register = place.get('register').oneOf(['EAX', 'EBX', 'ECX', 'EDX']).toLowerCase() as Register;
  const { value, mask } = readChange(change, 32);
  const last = end - start < LONGEST_RANGE ? end : isIndexedLeaf(leaf) ? Math.max(start, LAST_SUBLEAF) : start;
  if (last !== end && isIndexedLeaf(leaf)) left.endless.push(rowName({ leaf, subleaf: start }));
  for (let subleaf = start; subleaf <= last; subleaf++) {
    const at = { leaf, subleaf: subleafOf(leaf, subleaf) };
    const zero = { ...at, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    const known = rows.get(rowName(at)) ?? {
      row: zero,
      mask: mapRegisters(zero, () => ALL),
      said: new Set<Register>(),
    };
    if (known.said.has(register)) {
      // Cloud Hypervisor takes the first one; its skylake.json has 23.4 EBX twice.
      if (known.row[register] !== Number(value) || known.mask[register] !== Number(mask))
        left.again.push(`${rowName(at)}.${register.toUpperCase()}`);
      continue;
    }
    rows.set(rowName(at), {
      row: { ...known.row, [register]: Number(value) },
      mask: { ...known.mask, [register]: Number(mask) },
      said: new Set([...known.said, register]),
    });
  }
}

/** Older profiles have numbers, newer ones hex strings. */
const subleafNumber = (value: JsonValue): number => (value.isString ? value.hex32() : value.whole(ALL));

/** The pinned bits of a change and their value. */
function readChange(change: JsonValue, bits: 32 | 64): { value: bigint; mask: bigint } {
  change.only('replacements', 'mask');
  const value = change.get('replacements').hex(bits);
  return { value, mask: BigInt.asUintN(bits, ~change.get('mask').hex(bits)) | value };
}

function readMsrProfile(root: JsonValue): Parsed {
  root.only('hypervisor_type', 'cpu_vendor', 'adjustments', 'permitted_msrs');
  const msrs = new Map<number, DumpedMsr>();
  for (const pair of root.get('adjustments').items()) {
    const [index, change, ...more] = pair.items();
    if (!index || !change || more.length) throw pair.fail('expected a pair of an MSR and its change');
    const address = index.hex32();
    if (msrs.has(address)) throw pair.fail(`MSR ${hexShort(address)} stands twice`);
    msrs.set(address, { index: address, ...readChange(change, 64) });
  }
  const permitted = (root.maybe('permitted_msrs')?.items() ?? []).map((msr) => hexShort(msr.hex32()));
  const facts = {
    hypervisor: root.get('hypervisor_type').string(),
    cpu_vendor: root.get('cpu_vendor').string(),
    ...(permitted.length ? { permitted_msrs: permitted.join(' ') } : {}),
  };
  return { dump: dumpOf([maskedCpu(0, [], [...msrs.values()])], absent, facts), losses: [] };
}

function writeCpuidProfile(dump: Parameters<Format['write']>[0], cpu: DumpedCpu | undefined): Written {
  const adjustments = (cpu ? placedRows(cpu) : []).flatMap((row) =>
    REGISTERS.map((register) => [
      {
        leaf: hexShort(row.leaf),
        sub_leaf: { start: hexShort(row.subleaf ?? 0), end: hexShort(row.subleaf ?? 0) },
        register: register.toUpperCase(),
      },
      { replacements: hex32(row[register]), mask: hex32(~pinnedBits(cpu!, row, register)) },
    ]),
  );
  const { cpu_vendor, vendorLoss } = vendorOf(dump, cpu);
  const profile = { hypervisor: dump.facts.hypervisor ?? 'Kvm', cpu_vendor, adjustments };
  const losses = [...lossesOf(dump, { ...holds, msrs: false, facts: ['hypervisor', 'cpu_vendor'] }), ...vendorLoss];
  return { text: `${JSON.stringify(profile, null, 2)}\n`, losses };
}

function writeMsrProfile(dump: Parameters<Format['write']>[0], cpu: DumpedCpu): Written {
  const { cpu_vendor, vendorLoss } = vendorOf(dump, cpu);
  const profile = {
    cpu_vendor,
    hypervisor_type: dump.facts.hypervisor ?? 'Kvm',
    adjustments: cpu.msrs.flatMap((msr) =>
      'fault' in msr ? [] : [[hexShort(msr.index), { mask: hex64(msr.mask ^ ALL64), replacements: hex64(msr.value) }]],
    ),
    permitted_msrs: dump.facts.permitted_msrs?.split(' ') ?? [],
  };
  return { text: `${JSON.stringify(profile, null, 2)}\n`, losses: [...lossesOf(dump, holds), ...vendorLoss] };
}

/** The vendor as the file says it, else as CPUID 0 does. */
function vendorOf(
  dump: Parameters<Format['write']>[0],
  cpu: DumpedCpu | undefined,
): { cpu_vendor: string; vendorLoss: string[] } {
  const row = cpu?.cpuid.get(0);
  const name = row && Buffer.from(new Uint32Array([row.ebx, row.edx, row.ecx]).buffer).toString('latin1');
  const known = dump.facts.cpu_vendor ?? VENDORS.get(name ?? '');
  return { cpu_vendor: known ?? 'Unknown', vendorLoss: known ? [] : ['cpu_vendor is not known: written as "Unknown"'] };
}
