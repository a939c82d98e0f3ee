/** libvirt's CPU map (`cpu_map/index.xml` and what it includes), its x86 part, as values. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fieldName, isIndexedLeaf, REGISTERS } from '../../corpora/cpuid.js';
import { InputError } from '../../corpora/errors.js';
import { hex32 } from '../../corpora/hex.js';
import { parseXml, type XmlElement } from '../formats/xml-reader.js';

/** A feature bit by the names that `corpora/features` gives to places: `7.0.EBX[9]`, `0x0000010a[3]`. */
export type BitName = string;

export interface LibvirtMap {
  /** Feature name -> its bits. */
  readonly features: ReadonlyMap<string, readonly BitName[]>;
  /** Model name -> names of all features that it has; those that later libvirts added or removed count as they are now. */
  readonly models: ReadonlyMap<string, ReadonlySet<string>>;
}

/** Throws `InputError` where a file cannot be read or is not what libvirt ships. */
export function readLibvirtMap(folder: string): LibvirtMap {
  const arch = read(folder, 'index.xml').children.find((one) => one.name === 'arch' && one.attribute('name') === 'x86');
  if (!arch) throw new InputError('bad-cpu-map', `${folder}: index.xml has no x86`, { given: folder });
  const elements = expandIncludes(folder, arch).flatMap((one) =>
    one.name === 'group' ? expandIncludes(folder, one) : one,
  );
  const features = elements.filter(({ name }) => name === 'feature');
  const models = new Map<string, ReadonlySet<string>>();
  for (const model of elements.filter(({ name }) => name === 'model'))
    models.set(model.required('name'), featuresOf(model, models));
  return { features: new Map(features.map((one) => [one.required('name'), one.children.flatMap(bitsOf)])), models };
}

const expandIncludes = (folder: string, parent: XmlElement): XmlElement[] =>
  parent.children.flatMap((child) =>
    child.name === 'include' ? read(folder, child.required('filename')).children : [child],
  );

/** A model may begin with another one, which stands before it. */
function featuresOf(model: XmlElement, known: ReadonlyMap<string, ReadonlySet<string>>): ReadonlySet<string> {
  const base = model.child('model')?.required('name');
  const names = new Set(base === undefined ? [] : known.get(base));
  for (const feature of model.children.filter(({ name }) => name === 'feature'))
    if (feature.attribute('removed') === 'yes') names.delete(feature.required('name'));
    else names.add(feature.required('name'));
  return names;
}

function bitsOf(place: XmlElement): BitName[] {
  if (place.name === 'msr')
    return bitsIn(place.hex32('eax', 0), place.hex32('edx', 0)).map((bit) => `${hex32(place.hex32('index'))}[${bit}]`);
  if (place.name !== 'cpuid') return [];
  const leaf = place.hex32('eax_in');
  const subleaf = isIndexedLeaf(leaf) ? place.hex32('ecx_in', 0) : null;
  return REGISTERS.flatMap((register) =>
    bitsIn(place.hex32(register, 0)).map((bit) => fieldName({ leaf, subleaf, register }, bit)),
  );
}

const bitsIn = (...words: readonly number[]): number[] =>
  words.flatMap((word, i) =>
    Array.from({ length: 32 }, (_, bit) => bit)
      .filter((bit) => (word >>> bit) & 1)
      .map((bit) => 32 * i + bit),
  );

function read(folder: string, name: string): XmlElement {
  const file = join(folder, name);
  try {
    return parseXml({ format: file, text: readFileSync(file, 'utf8') });
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError('unreadable-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      given: file,
    });
  }
}
