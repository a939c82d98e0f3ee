/** The form of a regression's file, for checks; loaded only there. */
import { z } from 'zod';
import { SCENARIOS } from '../verdict.js';

const text = z.string().min(1);
const hex32 = z.string().regex(/^0x[0-9a-f]{8}$/);
const hex64 = z.string().regex(/^0x[0-9a-f]{16}$/);
const value = z.union([z.boolean(), z.number(), z.string(), z.null()]);
const properties = z.record(text, value);
/** `7.0.EBX`: bits of it. */
const fields = z.record(z.string().regex(/^[0-9A-F]+(\.[0-9A-F]+)?\.E[A-D]X$/), hex32);
const msrValues = z.record(hex32, hex64);

/** `CPUID 7.0.EBX[4]`, `CPUID 4.3`, `MSR 0x0000010a`, `register CR4`, `state xsave`, `ioctl KVM_SET_CPUID2`, `code tsc-frequency`. */
export const oracleForm =
  /^(CPUID [0-9A-F]+(\.[0-9A-F]+)?(\.E[A-D]X(\[\d+\])?)?|MSR 0x[0-9a-f]{8}|register (CR0|CR4|XCR0)|state [a-z-]+|ioctl [A-Z0-9_]+|code [a-z0-9-]+)$/;

export const WRITTEN_LIVES = ['written-move', 'written-live-save', 'written-migrate'] as const;

/** Where a mutant is played: what every kind has. */
const played = {
  /** Pairs, those that the case broke among them. */
  pairs: z.array(text).min(1),
  /** `local`, or a capture (`EPYC/6.12`); default: the richest capture. */
  host: text.optional(),
  /** A scenario, or a life in which the guest has written its MSRs before it moves: saved, saved live or migrated live; default: boot. */
  life: z.enum([...SCENARIOS, ...WRITTEN_LIVES]).optional(),
  smp: text.optional(),
  /** Where the wrong part is, of two hosts; default: everywhere. */
  at: z.enum(['source', 'destination']).optional(),
  /** Which vCPUs the wrong part is of: what is found must name each of them, and no other; default: all. */
  vcpus: z.array(z.int().min(0)).min(1).optional(),
  /** What must be named, where it is not all that the case's oracle says. */
  oracle: z.array(z.string().regex(oracleForm)).min(1).optional(),
};

/** An edit of a machine type or a model, as a commit makes it. */
const edit = z.union([
  z.strictObject({
    machine: text,
    /** Compat properties taken away: `Nehalem.min-level`, `x86_64-cpu.arat`. */
    without: z.array(text).min(1).optional(),
    compat: z.array(z.strictObject({ type: text, property: text, value })).optional(),
    kvmDefaults: properties.optional(),
    withoutKvmDefaults: z.array(text).optional(),
    defaultVersion: z.union([z.enum(['legacy', 'latest']), z.int()]).optional(),
  }),
  z.strictObject({ model: text, version: z.int().optional(), properties }),
  z.strictObject({ caches: text, cache: z.enum(['l1d', 'l1i', 'l2', 'l3']), facts: properties }),
  z.strictObject({ cpuClass: properties, kvmDefaults: properties.optional() }),
]);

/** What a kernel, a CPU or a monitor does wrong; each field one way. */
const faults = z.strictObject({
  /** Bits that KVM_GET_SUPPORTED_CPUID no longer has, or has now. */
  offersNot: fields.optional(),
  offers: fields.optional(),
  /** Bits that every guest is shown, or none, whatever the table says; KVM_GET_CPUID2 tells them. */
  adds: fields.optional(),
  removes: fields.optional(),
  /** Likewise, and KVM_GET_CPUID2 says nothing of it. */
  showsSecretly: fields.optional(),
  /** KVM_SET_MSRS stops there. */
  refuses: z.array(hex32).optional(),
  /** KVM_SET_MSRS counts them as set, and leaves them as they were. */
  loses: z.array(hex32).optional(),
  /** From this one on, in the order given. */
  losesFrom: hex32.optional(),
  /** KVM_GET_MSRS stops there. */
  hides: z.array(hex32).optional(),
  /** What they hold once a vCPU has its CPUID. */
  starts: msrValues.optional(),
  /** Bits of these that KVM_SET_MSRS does not keep. */
  narrows: msrValues.optional(),
  /** In KVM_GET_MSR_INDEX_LIST, or not. */
  lists: z.array(hex32).optional(),
  listsNot: z.array(hex32).optional(),
  refusesState: text.optional(),
  dropsState: text.optional(),
  /** kHz that the TSC has at the destination. */
  tscKhz: z.int().optional(),
});

export const mutantSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('definition'), ...played, edits: z.array(edit).min(1) }),
  z.strictObject({
    kind: z.literal('resolver'),
    ...played,
    /** Of conformance/regressions/rules.ts. */
    rule: text,
    fields: fields.optional(),
    of: text.optional(),
  }),
  z.strictObject({ kind: z.literal('kernel'), ...played, faults }),
  z.strictObject({
    kind: z.literal('monitor'),
    ...played,
    /** Of conformance/regressions/monitors.ts. */
    fault: text,
    msrs: z.array(hex32).optional(),
  }),
  z.strictObject({
    kind: z.literal('stream'),
    ...played,
    /** MSRs that it lacks, and that it has beside its own. */
    without: z.array(hex32).optional(),
    with: msrValues.optional(),
    tscKhz: z.int().optional(),
    xcr0: hex64.optional(),
    /** Bytes of a part of the state: at an offset, hex. */
    part: z.strictObject({ name: text, at: z.int().min(0), bytes: z.string().regex(/^([0-9a-f]{2})+$/) }).optional(),
  }),
]);

/** In the order in which the fields stand in a file. */
export const regressionSchema = z
  .strictObject({
    schema: z.literal('guest-abi/regression/1'),
    /** The file's name: `017-virtual-l3`. */
    id: z.string().regex(/^\d{3}-[a-z0-9-]+$/),
    title: text,
    /** Commits and bug reports. */
    references: z.array(text).min(1),
    mechanism: text,
    /** Pairs, machine types or hosts that it hit, in words. */
    affected: text,
    /** What a guest must see, and what it saw. */
    expected: text,
    broken: text,
    /** Each must be named by what the suite finds. */
    oracle: z.array(z.string().regex(oracleForm)).min(1),
    /** Values that pairs without a contract must show: pair -> field -> value. */
    pins: z.record(text, z.record(text, hex32)).optional(),
    /** Why no mutant can be made of it; exactly where there is none. */
    inexpressible: text.optional(),
    mutants: z.array(mutantSchema),
  })
  .refine(({ mutants, inexpressible }) => (mutants.length === 0) === (inexpressible !== undefined), {
    message: 'has mutants, or says why it cannot have any',
  });
