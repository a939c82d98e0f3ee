/** The CPUID table of one vCPU: the rows that QEMU hands to KVM_SET_CPUID2 (target/i386/kvm/kvm.c, kvm_x86_build_cpuid). */
import { type CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import type { Registers } from './caches.js';
import type { ExpandedCpu } from './cpu.js';
import * as basic from './leaves-basic.js';
import * as extended from './leaves-extended.js';
import { hypervisorRows } from './leaves-hypervisor.js';
import { hasExtendedTopology } from './topology.js';
import { xsaveLeaf } from './xsave.js';

/** A leaf without subleaves; left out where all of it is zero: KVM answers an absent row with zeros. */
function* plain(leaf: number, registers: Registers, keepZero = false): Generator<CpuidRow> {
  if (keepZero || registers.eax || registers.ebx || registers.ecx || registers.edx) yield rowOf(leaf, null, registers);
}

function* indexed(leaf: number, subleaves: readonly Registers[]): Generator<CpuidRow> {
  for (const [subleaf, registers] of subleaves.entries()) yield rowOf(leaf, subleaf, registers);
}

const rowOf = (leaf: number, subleaf: number | null, { eax, ebx, ecx, edx }: Registers): CpuidRow => ({
  leaf,
  subleaf,
  eax: eax >>> 0,
  ebx: ebx >>> 0,
  ecx: ecx >>> 0,
  edx: edx >>> 0,
});

/** Rows that are the same on every vCPU. */
function* sharedRows(cpu: ExpandedCpu): Generator<CpuidRow> {
  for (const row of hypervisorRows(cpu)) yield rowOf(row.leaf, null, row);
  yield* sharedBasicRows(cpu, cpu.number('level'));
  yield* sharedExtendedRows(cpu, cpu.number('xlevel'));
  for (const [i, registers] of extended.leavesC0000000(cpu).entries()) yield rowOf(0xc0000000 + i, null, registers);
}

function* sharedBasicRows(cpu: ExpandedCpu, level: number): Generator<CpuidRow> {
  yield* plain(0, basic.leaf0(cpu));
  if (level >= 2) yield* plain(2, basic.cacheLeaf2(cpu), true);
  if (level >= 4) yield* indexed(4, basic.cacheLeaf4(cpu));
  if (level >= 5) yield* plain(5, basic.leaf5());
  if (level >= 6) yield* plain(6, basic.leaf6(cpu));
  if (level >= 7) yield* indexed(7, leaf7Subleaves(cpu));
  if (level >= 0xa) yield* plain(0xa, basic.leafA(cpu));
  if (level >= 0xd)
    for (const [subleaf, registers] of xsaveLeaf(cpu))
      if (registers.eax || (cpu.accelerator === 'tcg' && registers.ebx)) yield rowOf(0xd, subleaf, registers);
  if (level >= 0x12 && !cpu.behaviours.has('no-sgx-leaf')) yield* indexed(0x12, basic.leaf12(cpu));
  if (level >= 0x14) yield* indexed(0x14, basic.leaf14(cpu));
  const amx = !cpu.behaviours.has('no-amx-leaves');
  if (level >= 0x1d && amx) yield* indexed(0x1d, basic.leaf1D(cpu));
  if (level >= 0x1e && amx) yield* indexed(0x1e, basic.leaf1E(cpu));
  if (level >= 0x24) yield* indexed(0x24, basic.leaf24(cpu));
  if (level >= 0x29) yield* plain(0x29, basic.leaf29(cpu));
}

/** TCG also answers the subleaf after the maximum that 7.0.EAX tells; KVM's table ends there. */
function leaf7Subleaves(cpu: ExpandedCpu): Registers[] {
  const last = cpu.number('level-func7');
  const subleaves = upTo(last, (subleaf) => basic.leaf7(cpu, subleaf));
  const beyond = basic.leaf7(cpu, last + 1);
  return cpu.accelerator === 'tcg' && (beyond.eax || beyond.ecx || beyond.edx) ? [...subleaves, beyond] : subleaves;
}

const upTo = (last: number, leafOf: (subleaf: number) => Registers): Registers[] =>
  Array.from({ length: last + 1 }, (_, subleaf) => leafOf(subleaf));

function* sharedExtendedRows(cpu: ExpandedCpu, level: number): Generator<CpuidRow> {
  if (level < 0x80000000) return;
  yield* plain(0x80000000, extended.leaf80000000(cpu));
  if (level >= 0x80000001) yield* plain(0x80000001, extended.leaf80000001(cpu));
  for (let part = 0; part < 3; part++) {
    if (level >= 0x80000002 + part) yield* plain(0x80000002 + part, extended.brandLeaf(cpu, part));
  }
  if (level >= 0x80000005) yield* plain(0x80000005, extended.leaf80000005(cpu));
  if (level >= 0x80000006) yield* plain(0x80000006, extended.leaf80000006(cpu));
  if (level >= 0x80000007) yield* plain(0x80000007, extended.leaf80000007(cpu));
  if (level >= 0x80000008) yield* plain(0x80000008, extended.leaf80000008(cpu));
  if (level >= 0x8000000a) yield* plain(0x8000000a, extended.leaf8000000A(cpu));
  if (level >= 0x8000001d) yield* indexed(0x8000001d, extended.leaf8000001D(cpu));
  if (level >= 0x80000021) yield* plain(0x80000021, extended.leaf80000021(cpu));
  if (level >= 0x80000022) yield* plain(0x80000022, extended.leaf80000022(cpu));
}

/** Rows that hold the vCPU's own ids. */
function* ownRows(cpu: ExpandedCpu, apicId: number): Generator<CpuidRow> {
  const level = cpu.number('level');
  if (level >= 1) yield* plain(1, basic.leaf1(cpu, apicId));
  if (level >= 0xb) yield* indexed(0xb, basic.leafB(cpu, apicId));
  const has1F = hasExtendedTopology(cpu.smp) || cpu.on('x-force-cpuid-0x1f');
  if (level >= 0x1f && has1F) yield* indexed(0x1f, basic.leaf1F(cpu, apicId));
  if (cpu.number('xlevel') >= 0x8000001e) yield* plain(0x8000001e, extended.leaf8000001E(cpu, apicId));
}

/** One table per vCPU, in order. */
export function cpuidTables(cpu: ExpandedCpu): { index: number; apicId: number; cpuid: CpuidTable }[] {
  const shared = [...sharedRows(cpu)];
  return Array.from({ length: cpu.smp.cpus }, (_, index) => {
    const apicId = cpu.apicId(index);
    return { index, apicId, cpuid: new CpuidTable([...shared, ...ownRows(cpu, apicId)]) };
  });
}
