/** The messages of a migration, in the order in which they come, and what each may weigh. */

import { checkedFields, checkedList, checkedNumber, checkedText } from '../../corpora/checked.js';
import { reason as filledIn, type Reason } from '../../corpora/verdict.js';
import { ContainerError, type Section } from '../snapshot/container.js';
import { SECTION } from '../snapshot/machine-state.js';

/**
 *     source        offer   pages ...  machine, vcpu ...   go
 *     destination        accepted                    loaded   running
 *
 * `refused` stands for `accepted` or `loaded`. The source owns the guest up to `go`, which it sends once `loaded` came; the destination
 * lets the guest run once it has `go`. In between nobody does.
 */
export const MESSAGE = {
  ...{ offer: 16, pages: 17, machine: SECTION.machine, vcpu: SECTION.vcpu, go: 18 },
  ...{ accepted: 32, loaded: 33, running: 34, refused: 35 },
} as const;

const MIB = 1024 * 1024;
/** Most pages in one message. */
export const PAGES_CAP = 256;
const LIMITS: Readonly<Record<keyof typeof MESSAGE, number>> = {
  ...{ offer: 4 * MIB, pages: PAGES_CAP * (4096 + 16) + 4, machine: MIB, vcpu: MIB, go: 1 },
  ...{ accepted: 4 * MIB, loaded: 4 * MIB, running: 0, refused: 4 * MIB },
};

const NAMES: ReadonlyMap<number, keyof typeof MESSAGE> = new Map(
  Object.entries(MESSAGE).map(([name, type]) => [type, name as keyof typeof MESSAGE]),
);

export const messageName = (type: number): string => `'${NAMES.get(type) ?? `message ${type}`}'`;

/** The longest payload of a type that `messageName` knows. */
export const limitOf = (type: number): number => LIMITS[NAMES.get(type)!];

export const encodeJson = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** Reads the JSON of a message by `read`. Throws `ContainerError` where it is none, or not what `read` wants. */
export function decodeJson<T>({ type, payload }: Section, what: string, read: (value: unknown) => T): T {
  try {
    return read(JSON.parse(Buffer.from(payload).toString('utf8')));
  } catch (error) {
    throw new ContainerError(what, `${messageName(type)} is malformed: ${(error as Error).message}`);
  }
}

const TEXT_CAP = 4096;
const REASON_CAP = 10_000;
const TEXTS = ['code', 'step', 'message'] as const;
const NULLABLE_TEXTS = [
  'requirement',
  'leaf',
  'subleaf',
  'register',
  'msr',
  'feature',
  'contract',
  'guest',
  'layer',
] as const;
const NULLABLE_NUMBERS = ['vcpu', 'bit'] as const;

/** Reasons from the other side. Throws `RangeError` on anything else. */
export const readReasons = (value: unknown): Reason[] =>
  checkedList(value, REASON_CAP, 'reasons').map((one) => {
    const fields = checkedFields(one, 'a reason');
    const text = (name: string) => [name, checkedText(fields[name], TEXT_CAP, name)];
    const number = (name: string) => [name, checkedNumber(fields[name], 0xffff_ffff, name)];
    const given = (name: string) => fields[name] !== null && fields[name] !== undefined;
    return filledIn(
      Object.fromEntries([
        ...TEXTS.map(text),
        ...NULLABLE_TEXTS.filter(given).map(text),
        ...NULLABLE_NUMBERS.filter(given).map(number),
      ]) as never,
    );
  });
