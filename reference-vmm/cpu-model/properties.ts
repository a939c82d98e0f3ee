/** The property map of a pair before expansion: class, model, versions, accelerator, machine type, user, in QEMU's order. */
import type { Definitions, PropertyValue, ReleaseDeviation } from '../../corpora/definitions.js';
import { InputError, unknownName } from '../../corpora/errors.js';
import { type FeatureDictionary, featureDictionary } from '../../corpora/features.js';
import type { CpuOption } from '../../corpora/pair.js';
import type { MachineChoice } from './machine.js';
import type { ModelChoice } from './model.js';

/** Properties by canonical name. A feature that is absent is off. */
export type PropertyMap = Map<string, PropertyValue>;

export type Accelerator = 'kvm' | 'tcg';

/**
 * What one CPU object holds when QEMU has made it, before user properties. A model's own `vendor` stands: QEMU under KVM puts
 * the host's there instead, which is the named dimension `vendor=` here (docs: DESIGN, named dimensions).
 */
export function baseProperties(
  definitions: Definitions,
  machine: MachineChoice,
  model: ModelChoice,
  accelerator: Accelerator,
  deviations: readonly Pick<ReleaseDeviation, 'properties'>[] = [],
): PropertyMap {
  const map = new Map(modelProperties(definitions, model));
  for (const [name, value] of machineProperties(definitions, machine, model, accelerator, deviations))
    map.set(name, value);
  return map;
}

/** What accelerator, release and machine type set over the model's own properties. */
function machineProperties(
  definitions: Definitions,
  machine: MachineChoice,
  model: ModelChoice,
  accelerator: Accelerator,
  deviations: readonly Pick<ReleaseDeviation, 'properties'>[],
): PropertyMap {
  const map: PropertyMap = new Map();
  if (model.definition.versions[0]?.version !== 0) {
    const defaults = accelerator === 'kvm' ? machine.kvmDefaults : definitions.cpuClass.tcgDefaults;
    for (const [name, value] of Object.entries(defaults)) if (value !== null) map.set(name, value);
  }
  const type = `${model.name}-x86_64-cpu`;
  for (const { properties = [] } of deviations) {
    for (const entry of properties) if (entry.type === type) map.set(entry.property, entry.value);
  }
  for (const { compat } of machine.chain) {
    for (const entry of compat) {
      if (entry.type === 'x86_64-cpu' || entry.type === type) map.set(entry.property, entry.value);
    }
  }
  return map;
}

const ids = new Map<string, string>();

/** A short name for a long text: equal for equal texts of this process, and for no others. */
export function idOfText(text: string): string {
  const id = ids.get(text) ?? `${ids.size}`;
  ids.set(text, id);
  return id;
}

const modelIds = new WeakMap<PropertyMap, string>();

/** One text for all that `baseProperties` makes of a pair: pairs with equal texts, under whatever definitions, have equal properties. */
export function propertiesText(
  ...[definitions, machine, model, ...rest]: Required<Parameters<typeof baseProperties>>
): string {
  const own = modelProperties(definitions, model);
  const id = modelIds.get(own) ?? idOfText(JSON.stringify([...own]));
  modelIds.set(own, id);
  return `${id} ${JSON.stringify([...machineProperties(definitions, machine, model, ...rest)])}`;
}

const loaded = new WeakMap<Definitions, Map<string, PropertyMap>>();

/** Class, model and versions: the same on every machine type, so made once per version; not to be changed. */
function modelProperties(definitions: Definitions, model: ModelChoice): PropertyMap {
  const cache = loaded.get(definitions) ?? new Map<string, PropertyMap>();
  loaded.set(definitions, cache);
  const key = model.versionName;
  let map = cache.get(key);
  if (!map) {
    map = new Map(Object.entries(definitions.cpuClass.properties));
    assign(map, model.definition.properties);
    if (model.definition.versions[0]?.version !== 0) map.set('hypervisor', true);
    map.set('vendor', model.definition.vendor);
    for (const version of model.versions) assign(map, version.properties);
    cache.set(key, map);
  }
  return map;
}

function assign(map: PropertyMap, properties: Readonly<Record<string, PropertyValue>>): void {
  for (const name in properties) map.set(name, properties[name]!);
}

/** Named dimensions of ours that QEMU has no property for; see DESIGN.md. */
const DIMENSIONS: Readonly<Record<string, PropertyValue>> = { 'xsave-layout': null, 'pmu-leaf': null };

/**
 * Applies user options: `f=value` in the order given, then every `+f`, then every `-f`, whatever their order (QEMU,
 * x86_cpu_parse_featurestr). Returns the names that the user set.
 * @param release the one whose word it is; null: the newest
 * Throws `InputError` for an unknown name (with the nearest ones) or a value that the property cannot have.
 */
export function applyOptions(
  map: PropertyMap,
  options: readonly CpuOption[],
  definitions: Definitions,
  release: string | null = null,
): Set<string> {
  const dictionary = featureDictionary();
  const named = options.map((option) => ({ option, name: propertyName(option, definitions, dictionary) }));
  const given = new Set<string>();
  for (const kind of ['set', 'plus', 'minus'] as const) {
    for (const { option, name } of named) {
      if (option.kind !== kind) continue;
      const example = exampleOf(name, definitions, dictionary);
      if (option.kind !== 'set' && typeof example !== 'boolean') {
        throw new InputError('bad-value', `${option.name} is not a flag: write ${option.name}=value`, {
          given: option.name,
        });
      }
      map.set(name, option.kind === 'set' ? parseValue(option.name, option.value, name, example) : kind === 'plus');
      if (name === 'avx10-version') takeAvx10Features(map, definitions, release);
      given.add(name);
    }
    // QEMU looks at these two when it has `f=value` only (x86_cpu_post_initfn).
    if (kind === 'set' && map.get('x-vendor-cpuid-only-v2') && !map.get('x-vendor-cpuid-only')) {
      throw new InputError('conflicting-features', 'x-vendor-cpuid-only-v2 needs x-vendor-cpuid-only', {
        given: 'x-vendor-cpuid-only',
      });
    }
  }
  return given;
}

/** Features that come with each version of AVX10 and those before it. */
const AVX10_FEATURES = [['avx10', 'avx10-128', 'avx10-256', 'avx10-512'], ['avx10-vnni-int']] as const;

/** The version brings its features, from where QEMU knows those of the second one (commit 7c90fa647b5e, x86_cpu_apply_avx10_features). */
function takeAvx10Features(map: PropertyMap, { cpuClass }: Definitions, release: string | null): void {
  if (release !== null && !cpuClass.onlyIn['avx10-vnni-int']?.includes(release)) return;
  const version = map.get('avx10-version') as number;
  if (version > AVX10_FEATURES.length)
    throw badValue('avx10-version', `${version}`, `at most ${AVX10_FEATURES.length}`);
  for (const feature of AVX10_FEATURES.slice(0, version).flat()) map.set(feature, true);
}

/** QEMU takes `_` for `-` before `=` only; after `+` and `-` a name or one of its aliases stands as it is. */
function propertyName(option: CpuOption, definitions: Definitions, dictionary: FeatureDictionary): string {
  const { name: written } = option;
  const plain = option.kind === 'set' ? written.replaceAll('_', '-') : written;
  const feature = dictionary.exactly(plain);
  if (feature) return feature;
  const name = PROPERTY_ALIASES[plain] ?? plain;
  if (name in definitions.cpuClass.properties || name in DIMENSIONS) return name;
  throw unknownName('CPU property', written, [
    ...Object.keys(definitions.cpuClass.properties),
    ...Object.keys(DIMENSIONS),
    ...dictionary.allNames(),
  ]);
}

/** Aliases of properties that are not features (QEMU, x86_cpu_initfn). */
const PROPERTY_ALIASES: Readonly<Record<string, string>> = { 'hv-apicv': 'hv-avic', 'tsc-freq': 'tsc-frequency' };

function exampleOf(name: string, definitions: Definitions, dictionary: FeatureDictionary): PropertyValue {
  if (dictionary.bitsOf(name).length) return false;
  return definitions.cpuClass.properties[name] ?? DIMENSIONS[name] ?? null;
}

const TRUE = new Set(['on', 'yes', 'true', 'y']);
const FALSE = new Set(['off', 'no', 'false', 'n']);
/** Unset means automatic: their values are numbers. */
const LEVELS = new Set(['level', 'xlevel', 'xlevel2', 'level-func7']);
/** Of `tsc-freq` only (QEMU, qemu_strtosz_metric). */
const SUFFIXES: Readonly<Record<string, number>> = { '': 1, B: 1, K: 1e3, M: 1e6, G: 1e9, T: 1e12 };

function parseValue(written: string, value: string, name: string, example: PropertyValue): PropertyValue {
  if (typeof example === 'boolean') {
    if (TRUE.has(value)) return true;
    if (FALSE.has(value)) return false;
    throw badValue(written, value, 'on or off');
  }
  if (written.replaceAll('_', '-') === 'tsc-freq') return parseMetric(written, value);
  if (typeof example === 'number' || LEVELS.has(name)) return parseNumber(written, value, name);
  if (name === 'vendor' && value.length !== 12) throw badValue(written, value, 'exactly 12 characters');
  if (name === 'xsave-layout' && value !== 'intel' && value !== 'amd') throw badValue(written, value, 'intel or amd');
  if (name === 'pmu-leaf' && !/^(0x[0-9a-f]{1,8}:){3}0x[0-9a-f]{1,8}$/i.test(value)) {
    throw badValue(written, value, 'EAX:EBX:ECX:EDX in hex, e.g. 0x7300403:0x0:0x0:0x603');
  }
  return value;
}

/** The largest value of numbers that do not have 32 bits. */
const LIMITS: Readonly<Record<string, number>> = {
  family: 0x10e,
  model: 0xff,
  stepping: 0xf,
  'avx10-version': 0xff,
  'host-phys-bits-limit': 0xff,
  'hv-version-id-major': 0xffff,
  'hv-version-id-minor': 0xffff,
  'hv-version-id-sbranch': 0xff,
  'x-hv-max-vps': 0x7fffffff,
  'tsc-frequency': Number.MAX_SAFE_INTEGER,
  'ucode-rev': Number.MAX_SAFE_INTEGER,
};

/** Decimal, hex, or octal after a leading zero, as C reads numbers. */
function parseNumber(written: string, value: string, name: string): number {
  if (!/^(-?[1-9]\d*|0[0-7]*|0x[0-9a-f]+)$/i.test(value)) throw badValue(written, value, 'a number');
  const number = Number(value.replace(/^0(?=\d)/, '0o'));
  const limit = LIMITS[name] ?? 0xffffffff;
  if (number > limit || number < -1 || (number < 0 && name !== 'x-hv-max-vps')) {
    throw badValue(written, value, `at most ${limit}`);
  }
  return number;
}

/** `2.5G`: the suffix stands for a power of 1000. */
function parseMetric(written: string, value: string): number {
  const [, digits = '', suffix = ''] = /^(\d+(?:\.\d+)?)([BKMGT]?)$/i.exec(value) ?? [];
  const number = Number(digits) * SUFFIXES[suffix.toUpperCase()]!;
  if (!digits || !Number.isSafeInteger(number)) throw badValue(written, value, 'a number such as 2500000000 or 2.5G');
  return number;
}

const badValue = (name: string, value: string, wanted: string): InputError =>
  new InputError('bad-value', `${name}=${value}: must be ${wanted}`, { given: value });
