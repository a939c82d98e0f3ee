/** What a runner and `guest-abi agent` say to each other: JSON lines, one request at a time, every message checked. */
import { z } from 'zod';
import { CAPTURE_SCHEMA } from '../../../corpora/host-capture.js';
import { FAULT_NAMES } from './faults.js';
import { AGENT_SCHEMA } from './lines.js';

const hex32 = z.string().regex(/^0x[0-9a-f]{8}$/);
const hex64 = z.string().regex(/^0x[0-9a-f]{16}$/);
const fault = z.enum(['#GP', '#UD']);
/** A register that the guest could read, or the fault that it met. */
const outcome = z.union([hex64, fault]);
const count = z.int().min(0);

const cpuidRow = z.strictObject({
  leaf: hex32,
  subleaf: hex32.nullable(),
  eax: hex32,
  ebx: hex32,
  ecx: hex32,
  edx: hex32,
});

const smp = z.strictObject({
  cpus: count,
  maxcpus: count,
  sockets: count,
  dies: count,
  modules: count,
  cores: count,
  threads: count,
});

/** JSON form of a `CpuIdentity`. */
export const identitySchema = z.strictObject({
  pair: z.string(),
  machine: z.string(),
  cpuModel: z.string(),
  modelVersion: z.string(),
  vendor: z.string().length(12),
  smp,
  level: count,
  xlevel: count,
  signature: z.strictObject({ family: count, model: count, stepping: count }),
  features: z.array(z.string()),
  vcpus: z.array(z.strictObject({ index: count, apicId: count, cpuid: z.array(cpuidRow) })).min(1),
  msrs: z.array(z.strictObject({ index: hex32, value: hex64 })),
});

/** JSON form of a `VcpuObservation`. */
export const observationSchema = z.strictObject({
  index: count,
  apicId: count,
  sequence: count,
  cr0: hex32,
  cr4: hex32,
  efer: outcome,
  apicBase: outcome,
  xss: outcome,
  xcr0: outcome.nullable(),
  cpuid: z.array(cpuidRow),
  msrs: z.array(z.union([z.strictObject({ index: hex32, value: hex64 }), z.strictObject({ index: hex32, fault })])),
});

const nullableText = z.string().nullable();
/** JSON form of a `Reason`. */
export const reasonSchema = z.strictObject({
  code: z.string(),
  requirement: nullableText,
  step: z.string(),
  vcpu: count.nullable(),
  leaf: nullableText,
  subleaf: nullableText,
  register: z.enum(['eax', 'ebx', 'ecx', 'edx']).nullable(),
  bit: count.nullable(),
  msr: nullableText,
  feature: nullableText,
  contract: nullableText,
  guest: nullableText,
  layer: z.enum(['host-cpu', 'kernel', 'monitor', 'guest', 'harness']).nullable(),
  message: z.string(),
});

/** How a guest's life went on after a request that let it run. */
export const outcomeSchema = z.discriminatedUnion('kind', [
  /** It runs and dumped; `altered` and `forced` are filled under allowAltered and forceFeatures. */
  z.strictObject({
    kind: z.literal('running'),
    vcpus: z.array(observationSchema).min(1),
    altered: z.array(reasonSchema),
    forced: z.array(z.string()),
    /** KVM_GET_CPUID2 of each vCPU before the first KVM_RUN. */
    readBack: z.array(z.array(cpuidRow)),
    /** After `write-msr`: what WRMSR was given on the first vCPU that wrote, or the fault that it raised. */
    written: outcome.optional(),
  }),
  /** The same of a witness: how far each vCPU came, and what it saw change since it started, in words. */
  z.strictObject({
    kind: z.literal('witnessed'),
    vcpus: z.array(z.strictObject({ index: count, laps: count, passes: count, changes: z.array(z.string()) })).min(1),
  }),
  z.strictObject({ kind: z.literal('refused'), reasons: z.array(reasonSchema).min(1) }),
  z.strictObject({ kind: z.literal('crashed'), message: z.string() }),
  z.strictObject({ kind: z.literal('hung'), message: z.string() }),
]);

/** JSON form of `HostCapabilities`: a capture file's content too. */
export const captureSchema = z.strictObject({
  schema: z.literal(CAPTURE_SCHEMA),
  facts: z.strictObject({
    kernel: z.string(),
    kernelVersion: z.string(),
    module: z.string(),
    moduleParameters: z.record(z.string(), z.string()),
    cpuVendor: z.string().length(12),
    cpuModel: z.string(),
    microcode: z.string().nullable(),
  }),
  supportedCpuid: z.array(cpuidRow),
  emulatedCpuid: z.array(cpuidRow),
  hostCpuid: z.array(cpuidRow),
  cpuidAdditions: z.array(cpuidRow),
  cpuidRemovals: z.array(cpuidRow).optional(),
  msrIndices: z.array(hex32),
  featureMsrs: z.array(z.strictObject({ index: hex32, value: hex64 })),
  capabilities: z.record(z.string(), z.number()),
});

const realize = {
  identity: identitySchema,
  allowAltered: z.boolean(),
  forceFeatures: z.boolean(),
  /** MSRs that the probe reads. */
  msrs: z.array(hex32),
  /** A kernel fault to plant, null for none. */
  fault: z.enum(FAULT_NAMES).nullable(),
  /** The QEMU whose guest it is, a release or a path on the host; absent: the reference monitor. */
  qemu: z.strictObject({ binary: z.string(), accel: z.enum(['tcg', 'kvm']) }).optional(),
  /** A QEMU's PC boots by `qboot.rom` in place of its BIOS. */
  smallFirmware: z.literal(true).optional(),
  /** The witness is the guest, not the cpu-state probe: its memory in MiB, the seed of its patterns, whether it reads XCR0. */
  witness: z.strictObject({ memory: count, seed: count, xcr0: z.boolean() }).optional(),
  /** Memory of another guest of the reference monitor, in MiB; absent: what the cpu-state probe needs. */
  memory: count.optional(),
};

/**
 * Ways in which a QEMU keeps a guest; absent and for the reference monitor: its state in a file. `internal`: in a qcow2 image (savevm);
 * `disk`: its disk only, the guest goes on; `disk-and-state`: both, apart.
 */
export const SNAPSHOT_WAYS = ['file', 'internal', 'disk', 'disk-and-state'] as const;
export type SnapshotWay = (typeof SNAPSHOT_WAYS)[number];

/** Every operation with the schema of its parameters and of its result. */
export const OPERATIONS = {
  /** Host capabilities in the capture's JSON form. */
  capture: { params: z.strictObject({}), result: captureSchema },
  /** Makes the guest of an identity and lets it dump once. Replaces the guest that was there. */
  boot: { params: z.strictObject(realize), result: outcomeSchema },
  /** Has the running guest dump again, after the reset or step that `command` names. */
  command: {
    params: z.strictObject({
      command: z.enum(['dump', 'dump-xcr0', 'reset-port', 'reset-keyboard', 'triple-fault', 'init']),
    }),
    result: outcomeSchema,
  },
  /** Has the guest execute WRMSR, and dump. */
  'write-msr': {
    params: z.strictObject({ index: hex32, value: hex64, vcpu: count.optional() }),
    result: outcomeSchema,
  },
  /** Stops the guest and writes its state to a file on the host. */
  save: {
    params: z.strictObject({ file: z.string(), way: z.enum(SNAPSHOT_WAYS).optional() }),
    result: z.strictObject({ bytes: count }),
  },
  /** Writes the guest's state to a file on the host while it runs on and dumps. */
  'save-live': { params: z.strictObject({ file: z.string() }), result: outcomeSchema },
  /** Makes a guest from a file that `save` or `save-live` wrote, and lets it dump. With `lazy` the file is mapped. */
  restore: {
    params: z.strictObject({ ...realize, file: z.string(), lazy: z.boolean().optional() }),
    result: outcomeSchema,
  },
  /** Migrates the guest, which runs meanwhile, to a listening destination on a unix socket. */
  send: {
    params: z.strictObject({
      socket: z.string(),
      /** Ends it before the hand-over: cancelled while memory is copied, or the link cut when the guest stands still. Who cannot, sends. */
      giveUp: z.enum(['cancelled', 'cut']).optional(),
      /** Rounds over its memory, after which a guest that writes faster than the link is stopped all the same. */
      maxRounds: z.int().min(1).optional(),
    }),
    /** `stayed`: given up as asked, the guest is still here. */
    result: outcomeSchema
      .or(z.strictObject({ kind: z.literal('sent') }))
      .or(z.strictObject({ kind: z.literal('stayed') })),
  },
  /** Listens on a unix socket; answers at once. The guest that arrives is had by `received`. */
  listen: { params: z.strictObject({ ...realize, socket: z.string() }), result: z.strictObject({}) },
  /** Waits for the guest that `listen` took, and lets it dump. `gaveUp` where the source did not send: a QEMU then waits for nothing that has not begun to come. */
  received: { params: z.strictObject({ gaveUp: z.literal(true).optional() }), result: outcomeSchema },
  /** The bytes of a file on the host, gzip in base64 (a snapshot is mostly zeros); for hosts that share no file system. */
  fetch: { params: z.strictObject({ file: z.string() }), result: z.strictObject({ gzip: z.string() }) },
  /** Writes a file on the host. */
  put: { params: z.strictObject({ file: z.string(), gzip: z.string() }), result: z.strictObject({}) },
  /** Removes a file on the host, if there is one. */
  remove: { params: z.strictObject({ file: z.string() }), result: z.strictObject({}) },
  /** Ends the guest, if there is one. */
  close: { params: z.strictObject({}), result: z.strictObject({}) },
} as const;

export type Operation = keyof typeof OPERATIONS;
export type Params<O extends Operation> = z.infer<(typeof OPERATIONS)[O]['params']>;
export type Result<O extends Operation> = z.infer<(typeof OPERATIONS)[O]['result']>;
export type Outcome = z.infer<typeof outcomeSchema>;

/** The agent's first line. */
export const helloSchema = z.strictObject({
  schema: z.literal(AGENT_SCHEMA),
  /** Version of the guest-abi package that speaks. */
  version: z.string(),
});

export const replySchema = z.union([
  z.strictObject({ id: count, result: z.unknown() }),
  z.strictObject({
    id: count,
    error: z.strictObject({
      code: z.string(),
      message: z.string(),
      given: z.string().nullable(),
      nearest: z.array(z.string()),
      exitCode: z.int(),
    }),
  }),
]);
