/** CPU models as QMP describes them: a name and properties, expanded, compared, and what two have in common. */
import type { Definitions, PropertyValue } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { featureDictionary } from '../../corpora/features.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { CpuOption } from '../../corpora/pair.js';
import type { ExpandedCpu } from '../cpu-model/cpu.js';
import type { Accelerator } from '../cpu-model/properties.js';
import { resolveCpu } from '../cpu-model/resolve.js';
import { QmpError } from './qmp-error.js';

/** QEMU's CpuModelInfo. */
export interface CpuModelInfo {
  readonly name: string;
  readonly props?: Readonly<Record<string, unknown>>;
}

/** Where models are looked up. */
export interface CpuModelPlace {
  readonly machine: string;
  readonly definitions: Definitions;
  /** For models that follow it. */
  readonly host?: HostCapabilities;
  /** Default: kvm. */
  readonly accelerator?: Accelerator;
}

type Props = Readonly<Record<string, PropertyValue>>;

/** What tells a model, beside its features (QEMU, x86_cpu_to_dict: static_props). */
const TELLING = ['family', 'model', 'stepping', 'model-id', 'vendor', 'min-level', 'min-xlevel', 'lmce'] as const;
/** Of these, those for which more is better; two CPUs that differ in another are different CPUs. */
const GROWING: ReadonlySet<string> = new Set(['min-level', 'min-xlevel', 'lmce']);
/** Knobs of older machine types that QEMU hides from QMP, or gives up with their release. */
const HIDDEN = new Set([
  'full-cpuid-auto-level',
  'kvm-no-smi-migration',
  'x-hv-synic-kvm-only',
  'x-intel-pt-auto-level',
]);
/** Unset texts are empty ones to QEMU. */
const TEXTS = new Set(['hv-vendor-id', 'model-id', 'vendor']);
/** Properties of ours only. */
const OURS = new Set(['xsave-layout', 'pmu-leaf']);

/** `query-cpu-model-expansion`. Throws `QmpError` with QEMU's words for an unknown model or property. */
export function expandModel(type: 'static' | 'full', model: CpuModelInfo, place: CpuModelPlace): CpuModelInfo {
  const cpu = resolveModel(model, place);
  if (type === 'static') return { name: 'base', props: staticProps(cpu) };
  return { name: model.name, props: propertiesOf(cpu) };
}

export type CompareResult = 'incompatible' | 'identical' | 'superset' | 'subset';

/**
 * `query-cpu-model-comparison`: whether a guest of one can have the other. QEMU defines it and has it for s390x only (qapi/machine.json,
 * CpuModelCompareResult); here models of another vendor, family, model or stepping are incompatible whatever their features.
 */
export function compareModels(
  modela: CpuModelInfo,
  modelb: CpuModelInfo,
  place: CpuModelPlace,
): { readonly result: CompareResult; readonly 'responsible-properties': readonly string[] } {
  const [a, b] = [modela, modelb].map((model) => staticProps(resolveModel(model, place))) as [Props, Props];
  const responsible = Object.keys(a).filter((name) => a[name] !== b[name]);
  return { result: resultOf(a, b, responsible), 'responsible-properties': responsible };
}

function resultOf(a: Props, b: Props, responsible: readonly string[]): CompareResult {
  if (responsible.length === 0) return 'identical';
  if (responsible.some((name) => isTelling(name) && !GROWING.has(name))) return 'incompatible';
  if (responsible.every((name) => Number(a[name]) > Number(b[name]))) return 'superset';
  if (responsible.every((name) => Number(a[name]) < Number(b[name]))) return 'subset';
  return 'incompatible';
}

const isTelling = (name: string): boolean => (TELLING as readonly string[]).includes(name);

/** `query-cpu-model-baseline`: what both have. Throws `QmpError` for models of two vendors: no CPU is both. */
export function baselineOf(modela: CpuModelInfo, modelb: CpuModelInfo, place: CpuModelPlace): CpuModelInfo {
  const [a, b] = [modela, modelb].map((model) => staticProps(resolveModel(model, place))) as [Props, Props];
  if (a.vendor !== b.vendor)
    throw new QmpError(`CPU models of ${String(a.vendor)} and of ${String(b.vendor)} have no baseline`);
  const props = Object.entries(a).map(([name, value]): [string, PropertyValue] => {
    if (typeof value === 'boolean') return [name, value && b[name] === true];
    if (GROWING.has(name)) return [name, Math.min(value as number, b[name] as number)];
    return [name, value];
  });
  return { name: 'base', props: Object.fromEntries(props) };
}

/** Throws `QmpError` with QEMU's words. */
function resolveModel({ name, props = {} }: CpuModelInfo, place: CpuModelPlace): ExpandedCpu {
  const { machine, definitions, host, accelerator } = place;
  const options = Object.entries(props).map(([prop, value]) => optionOf(name, prop, value, definitions));
  try {
    return resolveCpu({
      ...{ machine, definitions, cpu: { model: name, options } },
      ...(host && { host }),
      ...(accelerator && { accelerator }),
    }).cpu;
  } catch (error) {
    if (error instanceof InputError && error.code === 'unknown-cpu-model')
      throw new QmpError(`CPU model '${name}' not found`);
    throw error;
  }
}

function optionOf(model: string, name: string, value: unknown, definitions: Definitions): CpuOption {
  const feature = featureDictionary().canonical(name);
  const plain = name.replaceAll('_', '-');
  const example = feature ? false : definitions.cpuClass.properties[plain];
  if (example === undefined && !OURS.has(plain)) throw new QmpError(`Property '${model}-x86_64-cpu.${name}' not found`);
  const expected = typeof example === 'boolean' || typeof example === 'number' ? typeof example : 'string';
  if (typeof value !== expected && example !== null)
    throw new QmpError(
      `Invalid parameter type for 'model.props.${name}', expected: ${expected === 'number' ? 'integer' : expected}`,
    );
  return { kind: 'set', name, value: typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value) };
}

function staticProps(cpu: ExpandedCpu): Props {
  const telling = TELLING.map((name): [string, PropertyValue] => [name, propertyValue(cpu, name)]);
  const features = [...featureDictionary().names()].map((name): [string, PropertyValue] => [name, cpu.on(name)]);
  return Object.fromEntries([...telling, ...features]);
}

/** All properties by the names that QEMU has for them, aliases of features too. */
export function propertiesOf(cpu: ExpandedCpu): Props {
  const names = [...cpu.properties.keys()].filter((name) => !HIDDEN.has(name) && !OURS.has(name));
  const plain = names.map((name): [string, PropertyValue] => [name, propertyValue(cpu, name)]);
  const dictionary = featureDictionary();
  const features = [...dictionary.allNames()].map((name): [string, PropertyValue] => [
    name,
    cpu.on(dictionary.canonical(name)!),
  ]);
  return Object.fromEntries([...plain, ...features]);
}

const propertyValue = (cpu: ExpandedCpu, name: string): PropertyValue =>
  cpu.properties.get(name) ?? (TEXTS.has(name) ? '' : name === 'lmce' ? false : 0);
