/** Requirements: their form, that every reason code is of one of them, that none stands there unused, and that properties name theirs. */
import { readFileSync } from 'node:fs';
import { canonical } from '../../corpora/canonical.js';
import { type Requirement, requirements, requirementsPath } from '../../corpora/requirements.js';
import { DEFINITIONS, EDITED_CONTRACT, KERNEL, STATE } from '../../reference-vmm/cpu-model/differences.js';
import type { Check } from './check.js';
import { sources } from './house.js';

const ID = /ABI-[A-Z]+-\d{3}/g;

export const requirementsHold: Check = {
  name: 'every reason and every property is of a requirement, and every requirement is used',
  run: () => [...misformed(), ...requirementFaults(requirements(), codesInSources()), ...unnamedProperties()],
};

function misformed(): string[] {
  const text = readFileSync(requirementsPath(), 'utf8');
  return canonical(JSON.parse(text)) === text ? [] : ['corpora/requirements.json is not in canonical form'];
}

/** What is wrong with requirements, given the codes that reasons and expected errors have. */
export function requirementFaults(all: readonly Requirement[], { reasons, errors }: Codes): string[] {
  const ids = all.map(({ id }) => id);
  const codes = all.flatMap((one) => one.codes);
  const named = new Set(codes);
  return [
    ...all.flatMap(({ id, sentence, sources: cited, codes: own }) => [
      ...(new RegExp(`^${ID.source}$`).test(id) ? [] : [`${id} is no id`]),
      ...(/^[A-Z].*[^.]\.$/.test(sentence) ? [] : [`${id} is no sentence`]),
      ...(cited.length > 0 && cited.every(Boolean) ? [] : [`${id} cites no source`]),
      ...(own.length > 0 ? [] : [`${id}: nothing uses it`]),
    ]),
    ...twice(ids).map((id) => `${id} stands twice`),
    ...twice(codes).map((code) => `reason '${code}' is of two requirements`),
    ...[...reasons].filter((code) => !named.has(code)).map((code) => `reason '${code}' is of no requirement`),
    ...codes
      .filter((code) => !code.endsWith('*') && !reasons.has(code) && !errors.has(code))
      .map((code) => `no reason and no error has the code '${code}'`),
  ];
}

const twice = (names: readonly string[]): string[] => names.filter((name, i) => names.indexOf(name) !== i);

interface Codes {
  readonly reasons: ReadonlySet<string>;
  /** Of errors that become reasons as they are. */
  readonly errors: ReadonlySet<string>;
}

/** Codes as they stand in sources that make reasons. */
function codesInSources(): Codes {
  const texts = sources().filter(({ file }) => !file.endsWith('.test.ts'));
  const makers = texts.filter(({ text }) => /\b(Reason|reason)\b.*from '.*verdict\.js'|\bSay\b/.test(text));
  const literal = makers.flatMap(({ text }) => [
    ...text.matchAll(/\bcode: '([a-z0-9-]+)'/g),
    ...text.matchAll(/\b(?:failure|msrReason)\(\s*'([a-z0-9-]+)'/g),
  ]);
  const byAlterers = [KERNEL, DEFINITIONS, EDITED_CONTRACT, STATE].flatMap(({ prefix }) =>
    ['altered', 'row-added', 'row-removed'].map((what) => `${prefix}-${what}`),
  );
  const quoted = texts.flatMap(({ text }) => [...text.matchAll(/'([a-z0-9]+(?:-[a-z0-9]+)+|crashed|hung)'/g)]);
  return {
    reasons: new Set([...literal.map(([, code]) => code!), ...byAlterers]),
    errors: new Set(quoted.map(([, code]) => code!)),
  };
}

/** Every property's title names the requirement that it holds. */
function unnamedProperties(): string[] {
  const known = new Set(requirements().map(({ id }) => id));
  return sources()
    .filter(({ file }) => /^conformance\/properties\/.*\.test\.ts$/.test(file))
    .flatMap(({ file, text }) =>
      [...text.matchAll(/t\.test\(\s*(['"`])(.*?)\1/g)].flatMap(([, , title]) => {
        const ids = title!.match(ID) ?? [];
        if (ids.length === 0) return [`${file}: '${title}' names no requirement`];
        return ids.filter((id) => !known.has(id)).map((id) => `${file}: '${title}': there is no ${id}`);
      }),
    );
}
