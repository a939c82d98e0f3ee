/** The form of the dictionary's files, for checks; loaded only there. */
import { z } from 'zod';
import { type MsrDefinition, type MsrFile, RESET_RULES, VALUE_FORMS } from '../msrs.js';

const hex32 = z.string().regex(/^0x[0-9a-f]{8}$/);
const hex64 = z.string().regex(/^0x[0-9a-f]{16}$/);
const text = z.string().min(1);

const mask = z.union([
  hex64,
  z
    .array(
      z.union([
        z.strictObject({ when: text.optional(), bits: hex64 }),
        z.strictObject({ field: text }),
        z.strictObject({ rule: z.literal('physical-page') }),
      ]),
    )
    .min(1),
]);

const reset = z.union([
  hex64,
  z.strictObject({ rule: z.enum(RESET_RULES) }),
  z.array(z.strictObject({ when: text.optional(), value: hex64 })).min(1),
]);

/** In the order in which the fields stand in a file. */
export const msrDefinitionSchema = z.strictObject({
  index: hex32,
  count: z.union([z.int().min(2), text]).optional(),
  stride: z.int().min(2).optional(),
  names: z.strictObject({
    sdm: text.optional(),
    apm: text.optional(),
    tlfs: text.optional(),
    linux: text.optional(),
  }),
  exists: text,
  reset: reset.optional(),
  access: z.enum(['read-write', 'read', 'write']),
  writable: mask.optional(),
  ignored: mask.optional(),
  form: z.enum(VALUE_FORMS).optional(),
  held: z.enum(['kernel', 'monitor', 'judged']),
  why: text.optional(),
  volatility: z.strictObject({
    class: z.enum(['constant', 'per-vcpu', 'derived', 'guest-owned', 'time', 'host']),
    reason: text,
    source: text,
  }),
  travels: z.strictObject({ how: z.enum(['always', 'non-reset', 'never']), why: text.optional() }),
  after: z.array(text).min(1).optional(),
  sources: z.array(text).min(1),
});

export const msrFileSchema = z.strictObject({
  schema: z.literal('guest-abi/msrs/1'),
  msrs: z.array(msrDefinitionSchema).min(1),
});

/** The one text of a file: an MSR a paragraph, a field a line, in the schema's order; sorted by index. */
export function formatMsrFile({ schema, msrs }: MsrFile): string {
  const sorted = [...msrs].sort((a, b) => Number(a.index) - Number(b.index) || (a.exists < b.exists ? -1 : 1));
  return `{\n  "schema": ${JSON.stringify(schema)},\n  "msrs": [\n${sorted.map(paragraph).join(',\n')}\n  ]\n}\n`;
}

function paragraph(msr: MsrDefinition): string {
  const fields = Object.keys(msrDefinitionSchema.shape) as (keyof MsrDefinition)[];
  const lines = fields.filter((key) => msr[key] !== undefined).map((key) => `      "${key}": ${spaced(msr[key])}`);
  return `    {\n${lines.join(',\n')}\n    }`;
}

/** JSON in one line, with a space after each comma and colon. */
const spaced = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const entries = Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${spaced(one)}`);
  return `{${entries.join(', ')}}`;
};
