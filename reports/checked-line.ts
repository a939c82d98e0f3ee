/** What the lines of a log must hold: they come from outside, and reports read them unseen. */
import { checkedFields, checkedList, checkedNumber, checkedText } from '../corpora/checked.js';

const TEXT_CAP = 65_536;
const LIST_CAP = 1_000_000;

const text = (value: unknown, where: string): void => void checkedText(value, TEXT_CAP, where);
const count = (value: unknown, where: string): void => void checkedNumber(value, Number.MAX_SAFE_INTEGER, where);

/** Each element by `check`. */
function each(value: unknown, where: string, check: (value: unknown, where: string) => void): void {
  for (const one of checkedList(value, LIST_CAP, where)) check(one, `one of ${where}`);
}

/** An object of which `fields` are checked, each by its name. */
const fieldsBy =
  (fields: Readonly<Record<string, (value: unknown, where: string) => void>>) =>
  (value: unknown, where: string): void => {
    const own = checkedFields(value, where);
    for (const [name, check] of Object.entries(fields)) check(own[name], `'${name}' of ${where}`);
  };

const orNone =
  (check: (value: unknown, where: string) => void) =>
  (value: unknown, where: string): void => {
    if (value !== null && value !== undefined) check(value, where);
  };

const listOf =
  (check: (value: unknown, where: string) => void) =>
  (value: unknown, where: string): void =>
    each(value, where, check);

const reason = fieldsBy({
  ...{ code: text, step: text, message: text, vcpu: orNone(count), bit: orNone(count) },
  ...Object.fromEntries(
    ['requirement', 'leaf', 'subleaf', 'register', 'msr', 'feature', 'contract', 'guest', 'layer'].map((name) => [
      name,
      orNone(text),
    ]),
  ),
});

const expectation = { index: count, apicId: count, cpuid: text, msrs: text };
const dump = fieldsBy({
  ...{ ...expectation, sequence: count, cr0: text, cr4: text, efer: text, apicBase: text, xss: text },
  ...{ xcr0: orNone(text), time: listOf(text) },
});
const life = fieldsBy({
  expected: listOf(fieldsBy(expectation)),
  steps: listOf(fieldsBy({ step: text, vcpus: listOf(dump) })),
});

const MOST_SHARDS = 10_000;
function shard(value: unknown, where: string): void {
  const [, i, n] = /^(\d{1,5})\/(\d{1,5})$/.exec(checkedText(value, TEXT_CAP, where)) ?? [];
  if (!(Number(i) >= 1 && Number(i) <= Number(n) && Number(n) <= MOST_SHARDS))
    throw new RangeError(`${where} is no part '1/2'`);
}

const LINES: Readonly<Record<string, (value: unknown, where: string) => void>> = {
  run: fieldsBy({
    version: text,
    startedAt: text,
    options: orNone((value, where) => void checkedFields(value, where)),
    shards: orNone(listOf(shard)),
  }),
  host: fieldsBy({ id: text, kernel: text, module: text, cpu: text, note: text }),
  cell: fieldsBy({
    ...{ pair: text, smp: text, subject: text, scenario: text, evidence: text, ms: count },
    ...{ hosts: listOf(text), forced: listOf(text), reasons: listOf(reason), life: orNone(life) },
  }),
};

/** Throws `RangeError` naming the field that is not what reports take it for. Tables are checked by their digests. */
export const checkLine = (type: string, value: unknown): void => LINES[type]?.(value, `the ${type}`);
