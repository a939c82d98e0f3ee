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
  /** Signatures, vendors and `decode` are not read: they choose a model for a host, and no guest sees them. */
  readonly models: ReadonlyMap<string, LibvirtModel>;
}

export interface LibvirtModel {
  /** Names of all features of a guest with this model: what hypervisors always turned on with it counts, what libvirt took back does not. */
  readonly features: ReadonlySet<string>;
  /** Of those the ones that hypervisors always turned on, though older libvirts did not know (`added='yes'`; cpu_x86.c, addedFeatures). */
  readonly alwaysThere: ReadonlySet<string>;
  /** Features that older libvirts had in it, and that this one always writes out, as required or disabled (`removed='yes'`; removedFeatures). */
  readonly takenBack: ReadonlySet<string>;
}

/** Throws `InputError` where a file cannot be read or is not what libvirt ships. */
export function readLibvirtMap(folder: string): LibvirtMap {
  const arch = read(folder, 'index.xml').children.find((one) => one.name === 'arch' && one.attribute('name') === 'x86');
  if (!arch) throw new InputError('bad-cpu-map', `${folder}: index.xml has no x86`, { given: folder });
  const elements = expandIncludes(folder, arch).flatMap((one) =>
    one.name === 'group' ? expandIncludes(folder, one) : one,
  );
  const features = new Map(
    elements
      .filter(({ name }) => name === 'feature')
      .map((one) => [one.required('name'), one.children.flatMap(bitsOf)] as const),
  );
  const models = new Map<string, LibvirtModel>();
  for (const model of elements.filter(({ name }) => name === 'model'))
    models.set(model.required('name'), readModel(model, models, features));
  return { features, models };
}

const expandIncludes = (folder: string, parent: XmlElement): XmlElement[] =>
  parent.children.flatMap((child) =>
    child.name === 'include' ? read(folder, child.required('filename')).children : [child],
  );

/** A model may begin with another one, which stands before it. What is not in the map is refused, as libvirt does. */
function readModel(
  model: XmlElement,
  models: ReadonlyMap<string, LibvirtModel>,
  known: ReadonlyMap<string, unknown>,
): LibvirtModel {
  const ancestor = model.child('model');
  const base = ancestor && models.get(ancestor.required('name'));
  if (ancestor && !base) throw ancestor.fail(`no model '${ancestor.required('name')}' stands before this one`);
  const features = new Set(base?.features);
  const [alwaysThere, takenBack] = [new Set(base?.alwaysThere), new Set(base?.takenBack)];
  for (const element of model.children.filter(({ name }) => name === 'feature')) {
    const feature = element.required('name');
    if (!known.has(feature)) throw element.fail(`the map has no feature '${feature}'`);
    const is = (attribute: string): boolean =>
      element.attribute(attribute) !== undefined && element.oneOf(attribute, ['yes', 'no']) === 'yes';
    if (is('removed')) {
      features.delete(feature);
      takenBack.add(feature);
    } else features.add(feature);
    if (is('added')) alwaysThere.add(feature);
  }
  return { features, alwaysThere, takenBack };
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
