/** The summary that a release process keeps: what was shown, of which files, under one digest. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { canonical } from '../../corpora/canonical.js';
import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import type { HostSummary } from '../../reports/result-log.js';
import { PACKAGE_VERSION } from '../version.js';
import { type ChecklistItem, type QualifyVerdict, verdictOf } from './checklist.js';

export const QUALIFICATION_SCHEMA = 'guest-abi/qualification/1';

export interface Qualification {
  readonly schema: typeof QUALIFICATION_SCHEMA;
  readonly version: string;
  readonly machine: string;
  readonly predecessor: string | null;
  readonly models: readonly string[];
  readonly verdict: QualifyVerdict;
  readonly items: readonly ChecklistItem[];
  readonly hosts: readonly HostSummary[];
  /** SHA-256 of each file of the corpora that the verdict follows from, by path below the folder. */
  readonly corpora: Readonly<Record<string, string>>;
  /** SHA-256 of everything above, in canonical form. */
  readonly digest: string;
}

const digestText = z.string().regex(/^[0-9a-f]{64}$/);
const qualificationSchema = z.object({
  ...{ schema: z.literal(QUALIFICATION_SCHEMA), version: z.string(), machine: z.string() },
  ...{ predecessor: z.string().nullable(), models: z.array(z.string()) },
  verdict: z.enum(['qualified', 'not-qualified', 'incomplete']),
  items: z.array(
    z.object({
      ...{ id: z.string(), title: z.string(), outcome: z.enum(['passed', 'failed', 'open']) },
      ...{ evidence: z.array(z.string()), problems: z.array(z.string()) },
    }),
  ),
  hosts: z.array(
    z.object({ id: z.string(), kernel: z.string(), module: z.string(), cpu: z.string(), note: z.string() }),
  ),
  corpora: z.record(z.string(), digestText),
  digest: digestText,
});

const sha256 = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex');

/** Signs a checklist off, whatever its verdict. */
export function qualificationOf(
  facts: Pick<Qualification, 'machine' | 'predecessor' | 'models' | 'items' | 'hosts'>,
  definitions: Definitions,
): Qualification {
  const { machine, predecessor, models, items, hosts } = facts;
  const content: Omit<Qualification, 'digest'> = {
    ...{ schema: QUALIFICATION_SCHEMA, version: PACKAGE_VERSION, machine, predecessor, models },
    ...{ verdict: verdictOf(items), items, hosts, corpora: corporaDigests(machine, predecessor, definitions) },
  };
  return { ...content, digest: sha256(canonical(content)) };
}

/** The files that a machine type and the one before it follow from. */
function corporaDigests(machine: string, predecessor: string | null, definitions: Definitions): Record<string, string> {
  const machines = new Set<string>();
  for (const start of [machine, predecessor])
    for (let name = start; name !== null; name = definitions.machine(name).newer) machines.add(name);
  const { models } = definitions.modelIndex;
  const paths = [
    ...['cpu-models/x86_64-cpu.json', 'cpu-models/caches.json', 'cpu-models/index.json'],
    ...['machine-types/index.json', 'machine-types/deviations.json'],
    ...[...machines].map((name) => `machine-types/${name}.json`),
    ...Object.values(models).map((file) => `cpu-models/${file}`),
    ...definitions.contractNames().flatMap((name) => [`contracts/${name}.json`, `msr-contracts/${name}.json`]),
  ];
  const files = paths.sort().flatMap((path) => {
    const file = definitions.fileOf(path);
    return file === undefined ? [] : [[path, sha256(readFileSync(file))] as const];
  });
  return Object.fromEntries(files);
}

/** What of a kept summary is no longer so: one line each. Throws `InputError` `bad-qualification`. */
export function staleness(text: string, file: string, definitions: Definitions): string[] {
  const bad = (why: string): InputError => new InputError('bad-qualification', `${file}: ${why}`, { given: file });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bad('not JSON');
  }
  if ((value as { schema?: unknown } | null)?.schema !== QUALIFICATION_SCHEMA)
    throw bad(`no '${QUALIFICATION_SCHEMA}'`);
  const parsed = qualificationSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw bad(`${issue!.path.join('.')}: ${issue!.message}`);
  }
  const kept = value as Qualification;
  const { digest, ...content } = kept;
  if (digest !== sha256(canonical(content))) throw bad('its content is not what was signed off: the digest is another');
  const now = corporaDigests(kept.machine, kept.predecessor, definitions);
  return [...new Set([...Object.keys(kept.corpora), ...Object.keys(now)])]
    .filter((path) => kept.corpora[path] !== now[path])
    .map((path) => `${path} is not as it was signed off`);
}
