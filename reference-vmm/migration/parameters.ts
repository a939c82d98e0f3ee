/** What a migration may take and cost. Names, units and defaults of the first two are QEMU's. */
import { InputError, unknownName } from '../../corpora/errors.js';

/** What to do where the guest writes faster than the link carries. */
export const NOT_CONVERGING = ['stop', 'fail'] as const;

export interface MigrationParameters {
  /** Milliseconds. The guest is stopped once what is left is estimated to take no longer. */
  readonly 'downtime-limit': number;
  /** Bytes a second while the guest runs, 0 = as fast as the link. What is left when it stops is sent as fast as the link. */
  readonly 'max-bandwidth': number;
  /** After so many rounds over the memory the migration no longer waits for the limit. */
  readonly 'max-rounds': number;
  /** Then: stop the guest all the same (it is down for longer than the limit), or fail (it runs on at the source). */
  readonly 'when-not-converging': (typeof NOT_CONVERGING)[number];
  /** Milliseconds for which the other side may be silent. The guest is never stopped for longer without its end being known. */
  readonly 'silence-limit': number;
}

export const DEFAULT_PARAMETERS: MigrationParameters = {
  'downtime-limit': 300,
  'max-bandwidth': 0,
  'max-rounds': 30,
  'when-not-converging': 'stop',
  'silence-limit': 30_000,
};

const MOST: Readonly<Record<string, number>> = {
  'downtime-limit': 2_000_000,
  'max-bandwidth': Number.MAX_SAFE_INTEGER,
  'max-rounds': 1_000_000,
  'silence-limit': 3_600_000,
};

/** `base` with these changes. Throws `InputError` `unknown-migration-parameter` or `bad-migration-parameter`. */
export function withParameters(
  base: MigrationParameters,
  changes: Readonly<Record<string, unknown>>,
): MigrationParameters {
  for (const [name, value] of Object.entries(changes)) {
    if (!(name in base)) throw unknownName('migration parameter', name, Object.keys(base));
    const most = MOST[name];
    const least = name === 'max-rounds' || name === 'silence-limit' ? 1 : 0;
    const good =
      most === undefined
        ? NOT_CONVERGING.some((policy) => policy === value)
        : Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
    if (!good)
      throw new InputError(
        'bad-migration-parameter',
        `${name}: ${JSON.stringify(value)} is not ${most === undefined ? NOT_CONVERGING.join(' or ') : `a whole number from ${least} to ${most}`}`,
        { given: String(value) },
      );
  }
  return { ...base, ...changes };
}
