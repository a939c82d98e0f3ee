/** The MSR dictionary: its form, its conditions, its reasons, and that it names what every captured kernel lists. */
import { readdirSync, readFileSync } from 'node:fs';
import { cpuCondition, cpuNumber, featuresOfCondition } from '../../corpora/cpu-condition.js';
import { featureDictionary } from '../../corpora/features.js';
import { hex32 } from '../../corpora/hex.js';
import {
  MSR_FILES,
  type MsrDefinition,
  type MsrFile,
  msrDictionary,
  msrFilePath,
  msrNameAt,
} from '../../corpora/msrs.js';
import { packageFile } from '../../corpora/package-root.js';
import { readCapture } from '../hosts/capture-file.js';
import type { Check } from './check.js';

export const msrDictionaryHolds: Check = {
  name: 'the MSR dictionary is in its one form, sound, and names every MSR that a captured kernel lists',
  run: async () => [...(await misformed()), ...msrDictionary().flatMap(unsound), ...twice(), ...unnamed()],
};

async function misformed(): Promise<string[]> {
  const { formatMsrFile, msrFileSchema } = await import('../../corpora/msrs/schema.js');
  return MSR_FILES.flatMap((file) => {
    const text = readFileSync(msrFilePath(file), 'utf8');
    const json: unknown = JSON.parse(text);
    const { error } = msrFileSchema.safeParse(json);
    if (error) return error.issues.map(({ path, message }) => `msrs/${file}.json ${path.join('.')}: ${message}`);
    return formatMsrFile(json as MsrFile) === text ? [] : [`msrs/${file}.json is not in canonical form`];
  });
}

/** What the types and the schema do not say of one definition. */
export function unsound(msr: MsrDefinition): string[] {
  const problems = [
    ...conditionsOf(msr).flatMap(malformed),
    ...numbersOf(msr).flatMap((text) => thrown(() => cpuNumber(text))),
    ...(Object.keys(msr.names).length === 0 ? ['has no name'] : []),
    ...(msr.held !== 'kernel' && !msr.why ? ['does not say why the kernel does not hold it'] : []),
    ...(msr.held === 'kernel' && msr.travels.how === 'non-reset'
      ? ['is held by the kernel: it travels always or never']
      : []),
    ...(msr.held === 'judged' && msr.access === 'read' ? ['is never written: nothing to judge'] : []),
    ...(msr.travels.how === 'never' && !msr.travels.why ? ['does not say why it never travels'] : []),
    ...((msr.access === 'write') === (msr.reset === undefined)
      ? []
      : ['has a reset value exactly where it can be read']),
    ...((msr.access === 'read') === (msr.writable === undefined) ? [] : ['has a mask exactly where it can be written']),
    ...(msr.after ?? [])
      .filter((before) => !isKnown(before))
      .map((before) => `comes after ${before}, which is nothing`),
  ];
  return problems.map((problem) => `MSR ${msr.index} ${problem}`);
}

const whensOf = (parts: unknown): string[] =>
  Array.isArray(parts) ? parts.flatMap((part: { readonly when?: string }) => part.when ?? []) : [];
const conditionsOf = ({ exists, reset, writable, ignored }: MsrDefinition): string[] => [
  exists,
  ...[reset, writable, ignored].flatMap(whensOf),
];
const numbersOf = ({ count, writable }: MsrDefinition): string[] => [
  ...(typeof count === 'string' ? [count] : []),
  ...(Array.isArray(writable) ? writable.flatMap((part: { readonly field?: string }) => part.field ?? []) : []),
];

const malformed = (condition: string): string[] => {
  const errors = thrown(() => cpuCondition(condition));
  if (errors.length > 0) return errors;
  return featuresOfCondition(condition)
    .filter((name) => name !== 'pmu' && featureDictionary().canonical(name) !== name)
    .map((name) => `depends on '${name}', which is no feature`);
};

function thrown(act: () => unknown): string[] {
  try {
    act();
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

const isKnown = (before: string): boolean =>
  ['cpuid', 'lapic', 'xsave'].includes(before) || msrDictionary().some(({ index }) => index === before);

/** One MSR under one condition stands once. */
function twice(): string[] {
  const places = msrDictionary().map(({ index, exists }) => `MSR ${index} where ${exists}`);
  return places.filter((place, i) => places.indexOf(place) !== i).map((place) => `${place}: stands twice`);
}

function unnamed(): string[] {
  const folder = packageFile('corpora/hosts');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.json'));
  return files.flatMap((file) => {
    const { host } = readCapture(`${folder}/${file}`);
    return [...host.msrIndices, ...host.featureMsrs.map(({ index }) => index)]
      .filter((index) => msrNameAt(index) === null)
      .map((index) => `MSR ${hex32(index)}, which ${file} lists, is not in the dictionary`);
  });
}
