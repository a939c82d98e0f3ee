/** What the files of a corpora folder look like. Users bring folders of their own; ours are held to the same by a test. */
import { createRequire } from 'node:module';
import type * as Zod from 'zod';
import { InputError } from '../errors.js';

/** Loaded when first needed, and only then: who uses only the built-in files does not wait for it. */
const load = createRequire(import.meta.url);

/** Throws `InputError` `bad-corpora-file` naming file and place where `value` is not what a file of this path holds. */
export function checkCorporaFile(path: string, value: unknown, file: string): void {
  const result = schemaOf(path).safeParse(value);
  if (result.success) return;
  const { path: place, message } = result.error.issues[0]!;
  throw badFile(file, `${place.join('.') || 'the whole'}: ${message}`);
}

export const badFile = (file: string, what: string): InputError =>
  new InputError('bad-corpora-file', `${file}: ${what}`, { given: file });

let schemas: ReturnType<typeof makeSchemas> | undefined;

function schemaOf(path: string): Zod.ZodType {
  schemas ??= makeSchemas(load('zod') as typeof Zod);
  const byName: Readonly<Record<string, Zod.ZodType>> = schemas.byName;
  const known = byName[path];
  if (known) return known;
  if (path.startsWith('contracts/')) return schemas.contract;
  if (path.startsWith('msr-contracts/')) return schemas.msrContract;
  return path.startsWith('machine-types/') ? schemas.machine : schemas.model;
}

function makeSchemas({ z }: typeof Zod) {
  const value = z.union([z.boolean(), z.number(), z.string(), z.null()]);
  const properties = z.record(z.string(), value);
  const names = z.array(z.string());
  const texts = z.record(z.string(), z.string());
  const lists = z.record(z.string(), names);
  const compat = z.array(z.strictObject({ type: z.string().endsWith('x86_64-cpu'), property: z.string(), value }));
  const schema = (kind: string) => z.literal(`guest-abi/${kind}/1`);
  const count = z.number().int().nonnegative();
  const version = z.strictObject({
    version: count,
    releases: names,
    alias: z.string().optional(),
    note: z.string().optional(),
    properties,
  });
  const model = z.strictObject({
    schema: schema('cpu-model'),
    name: z.string(),
    vendor: z.union([z.string().length(12), z.literal('')]),
    deprecated: names,
    properties,
    versions: z.array(version),
  });
  const machine = z.strictObject({
    schema: schema('machine-type'),
    name: z.string(),
    newer: z.string().nullable(),
    releases: names,
    defaultVersion: z.union([z.enum(['legacy', 'latest']), count]),
    kvmDefaults: properties,
    board: z
      .strictObject({
        contiguousApicIds: z.boolean().optional(),
        prefersSockets: z.boolean().optional(),
        maxCpus: count.optional(),
        withoutDies: z.boolean().optional(),
      })
      .optional(),
    compat,
    follows: z.boolean().optional(),
  });
  const hex = z.string().regex(/^0x[0-9a-f]{8}$/, 'not 32 bits in hex');
  const rows = z.array(z.strictObject({ leaf: hex, subleaf: hex.nullable(), eax: hex, ebx: hex, ecx: hex, edx: hex }));
  const vcpus = z.array(z.strictObject({ apicId: count, rows })).optional();
  const shape = z.strictObject({ evidence: names, rows, vcpus });
  const runs = z.string().regex(/^0x[0-9a-f]{8}([- ]0x[0-9a-f]{8})*$/, 'not MSRs in hex');
  const values = z.record(z.string().regex(/^0x[0-9a-f]{16}$/, 'not 64 bits in hex'), runs);
  const effects = z.record(
    z
      .string()
      .regex(/^(faults|takes 0|(keeps|swallows) 0x[0-9a-f]{16})(, [a-z]+ [\w-]+)*$/, 'not the effect of a write'),
    runs,
  );
  const msrContract = z.strictObject({
    schema: schema('msr-contract'),
    model: z.string(),
    tables: z.array(z.strictObject({ pairs: lists, values })),
    writes: z.array(z.strictObject({ pairs: lists, effects })).optional(),
  });
  const contract = z.strictObject({
    schema: schema('contract'),
    model: z.string(),
    tables: z.array(z.strictObject({ pairs: lists, smp: z.strictObject({ '1': shape, '8c4t2': shape }) })),
    disagreements: z.array(z.strictObject({ id: z.string(), releases: names, pairs: lists, rows })),
  });
  const flags = {
    selfInit: z.boolean(),
    noInvdSharing: z.boolean(),
    inclusive: z.boolean(),
    complexIndexing: z.boolean(),
  };
  const sizes = {
    size: count,
    lineSize: count,
    associativity: count,
    partitions: count,
    sets: count,
    linesPerTag: count,
  };
  const cache = z.strictObject({
    type: z.enum(['data', 'instruction', 'unified']),
    level: count,
    ...sizes,
    ...flags,
    share: z.enum(['core', 'module', 'die', 'socket']),
  });
  const cacheSet = z.strictObject({ l1d: cache, l1i: cache, l2: cache, l3: cache.nullable() });
  const deviation = z.strictObject({
    id: z.string(),
    accelerator: z.literal('tcg').optional(),
    forced: z.literal(true).optional(),
    subject: z.literal(true).optional(),
    unpromised: z.literal(true).optional(),
    releases: names,
    commit: z.string().regex(/^[0-9a-f]{12} \(.+\)/, 'no commit of QEMU: 12 digits and (title)'),
    why: z.string(),
    properties: compat.optional(),
  });
  const byName = {
    'cpu-models/x86_64-cpu.json': z.strictObject({
      schema: schema('cpu-class'),
      properties,
      kvmDefaults: properties,
      tcgDefaults: properties,
      onlyIn: lists,
    }),
    'cpu-models/index.json': z.strictObject({
      schema: schema('cpu-model-index'),
      models: z.record(z.string(), z.string().regex(/^[\w-]+\/[\w.-]+\.json$/, 'not folder/file.json')),
      aliases: texts,
    }),
    'cpu-models/caches.json': z.strictObject({
      schema: schema('caches'),
      sets: z.record(z.string(), cacheSet),
      models: texts,
    }),
    'machine-types/index.json': z.strictObject({
      schema: schema('machine-type-index'),
      machines: z.array(z.string().regex(/^[\w.-]+$/, 'not a name')),
      aliases: texts,
      newest: texts,
    }),
    'machine-types/deviations.json': z.strictObject({
      schema: schema('deviations'),
      deviations: z.array(deviation).max(20),
    }),
  };
  return { model, machine, contract, msrContract, byName };
}
