/** Models `host` and `max`: CPUs made of what one host offers. They follow it, so no guest of theirs is safe to move. */
import type { CpuidTable } from '../../corpora/cpuid.js';
import type { CpuModelDefinition, Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { type Feature, featureDictionary } from '../../corpora/features.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { MachineChoice } from './machine.js';
import type { ModelChoice } from './model.js';
import { offeredBits } from './offered.js';
import { offeredMsrBit } from './offered-msrs.js';
import type { PropertyMap } from './properties.js';

/** `host`: all that can be enabled and migrated; `max`: all; `best`: the best named model that runs unfiltered. */
export const HOST_MODELS = ['host', 'max', 'best'] as const;
export type HostModel = (typeof HOST_MODELS)[number];

export const isHostModel = (name: string): name is HostModel => (HOST_MODELS as readonly string[]).includes(name);

/** Throws `InputError` `host-needed` where there is none. */
export function hostFor(what: string, host: HostCapabilities | undefined): HostCapabilities {
  if (host) return host;
  throw new InputError(
    'host-needed',
    `${what} follows its host: name one with --host (local, lab:6.12, recorded:FILE)`,
    {
      given: what,
    },
  );
}

/** What is only switched on where it is asked for: topology must fit the guest's, a hint is a promise of the monitor (QEMU, no_autoenable_flags). */
const NEVER_AUTOMATIC: ReadonlySet<string> = new Set(['topoext', 'ht', 'cmp-legacy', 'kvm-hint-dedicated']);

/** The features that `host` offers, by QEMU's names: all bits of a name must be there. `migratable`: only those that QEMU migrates. */
export function offeredFeatures(host: HostCapabilities, { migratable }: { readonly migratable: boolean }): string[] {
  const dictionary = featureDictionary();
  const offered = new Set(
    dictionary.words.flatMap(({ cpuid, msr, features }) => {
      const bits = cpuid ? offeredBits(host, cpuid) : 0;
      return features.filter(({ bit }) => (msr === null ? (bits >>> bit) & 1 : offeredMsrBit(host, msr, bit)));
    }),
  );
  const movable = (feature: Feature): boolean => !migratable || feature.migratable;
  return [...dictionary.names()].filter(
    (name) => !NEVER_AUTOMATIC.has(name) && dictionary.bitsOf(name).every((one) => offered.has(one) && movable(one)),
  );
}

/** A model of no file: it has the one version that a base model has, and that no machine type changes. */
export function hostModelChoice(name: 'host' | 'max', host: HostCapabilities): ModelChoice {
  const definition: CpuModelDefinition = {
    ...{ schema: 'guest-abi/cpu-model/1', name, vendor: vendorOf(host.hostCpuid), deprecated: [], properties: {} },
    versions: [],
  };
  return { name, definition, versions: [], versionName: name, aliasOf: null };
}

/** The property map of `host` or `max` before user options: the class, the machine type's compat, and the host's CPU. */
export function hostProperties(
  definitions: Definitions,
  machine: MachineChoice,
  name: 'host' | 'max',
  host: HostCapabilities,
): PropertyMap {
  const map: PropertyMap = new Map(Object.entries(definitions.cpuClass.properties));
  for (const [property, value] of Object.entries(ownProperties(host.hostCpuid))) map.set(property, value);
  // What the kernel shows of itself, and of levels; all else follows from features.
  map.set('min-level', host.supportedCpuid.value(0, null, 'eax'));
  map.set('min-xlevel', 0x80000000);
  map.set('avx10-version', host.supportedCpuid.value(0x24, 0, 'ebx') & 0xff);
  const pmu = host.supportedCpuid.get(0xa, null);
  if (pmu && (pmu.eax & 0xff) !== 0) {
    map.set('pmu', true);
    map.set('pmu-leaf', [pmu.eax, pmu.ebx, pmu.ecx, pmu.edx].map((word) => `0x${word.toString(16)}`).join(':'));
  }
  for (const feature of offeredFeatures(host, { migratable: name === 'host' })) map.set(feature, true);
  // `host` is a kind of `max`: compat properties of both bind to it.
  const types = new Set(['x86_64-cpu', 'max-x86_64-cpu', `${name}-x86_64-cpu`]);
  for (const { compat } of machine.chain)
    for (const entry of compat) if (types.has(entry.type)) map.set(entry.property, entry.value);
  return map;
}

function ownProperties(cpu: CpuidTable) {
  const signature = cpu.value(1, null, 'eax');
  const family = (signature >> 8) & 0xf;
  return {
    vendor: vendorOf(cpu),
    family: family + (family === 0xf ? (signature >> 20) & 0xff : 0),
    model: ((signature >> 4) & 0xf) | ((signature >> 12) & 0xf0),
    stepping: signature & 0xf,
    'model-id': brandOf(cpu),
    'phys-bits': physBits(cpu),
    'xsave-layout': xsaveLayoutOf(cpu),
  };
}

const text = (words: readonly number[]): string => Buffer.from(Uint32Array.from(words).buffer).toString('latin1');

function vendorOf(cpu: CpuidTable): string {
  const { ebx = 0, edx = 0, ecx = 0 } = cpu.get(0, null) ?? {};
  return text([ebx, edx, ecx]);
}

const brandOf = (cpu: CpuidTable): string =>
  [0x80000002, 0x80000003, 0x80000004]
    .map((leaf) => cpu.get(leaf, null))
    .map((row) => (row ? text([row.eax, row.ebx, row.ecx, row.edx]) : ''))
    .join('')
    .split('\0', 1)[0]!;

/** The CPU's physical address bits; 0 (QEMU's 40) where it does not say. */
export const physBits = (cpu: CpuidTable): number => cpu.value(0x80000008, null, 'eax') & 0xff;

/** By AVX-512's or PKRU's place, in which AMD's CPUs differ from Intel's. */
const xsaveLayoutOf = (cpu: CpuidTable): 'intel' | 'amd' =>
  cpu.value(0xd, 5, 'ebx') === 0x340 || cpu.value(0xd, 9, 'ebx') === 0x980 ? 'amd' : 'intel';
