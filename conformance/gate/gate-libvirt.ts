/** A CPU map of libvirt against our definitions, or against an older CPU map: models whose features differ. */
import type { Definitions } from '../../corpora/definitions.js';
import { hex32 } from '../../corpora/hex.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { compareWithLibvirt } from '../import/libvirt-compare.js';
import { type BitName, type LibvirtMap, type LibvirtModel, readLibvirtMap } from '../import/libvirt-map.js';
import type { GateFinding, GateResult } from './result.js';

/** Throws `InputError` where the folder is no CPU map. */
export function gateMapAgainstDefinitions(folder: string, definitions: Definitions): GateResult {
  const map = readLibvirtMap(folder);
  const found = compareWithLibvirt(map, definitions);
  const findings = found.disagreeing.map(({ model, onlyLibvirt, onlyOurs }) =>
    modelFinding(model, folder, [
      ...onlyLibvirt.map((name) => featureReason('model-feature-added', name, map, 'libvirt has it, QEMU has not')),
      ...onlyOurs.map((name) => featureReason('model-feature-removed', name, map, 'QEMU has it, libvirt has not')),
    ]),
  );
  return {
    ...{ base: "QEMU's models", head: `libvirt:${folder}`, subject: 'models', findings },
    held: found.agreeing.map((model) => ({ model, pairs: 1 })),
    totals: { unchanged: found.agreeing.length, broken: findings.length, added: found.modelsOnlyLibvirt.length },
    removed: [],
    added: found.modelsOnlyLibvirt.map((model) => ({ what: `model ${model} of libvirt alone`, pairs: 1 })),
    notes:
      found.featuresOnlyLibvirt.length > 0
        ? [`features that only libvirt names: ${found.featuresOnlyLibvirt.join(' ')}`]
        : [],
  };
}

/**
 * A map may gain models and features; a model keeps its features, and a feature its bits. What libvirt itself declares as no change of guests
 * (`added`, `removed`) is told apart in notes. Throws as the other does.
 */
export function gateMaps(before: string, baseName: string, after: string): GateResult {
  const [old, now] = [readLibvirtMap(before), readLibvirtMap(after)];
  const reasons = new Map([...old.models.keys()].map((model) => [model, changedModel(model, old, now)] as const));
  const broken = [...reasons].filter(([, why]) => why.length > 0);
  const added = [...now.models.keys()].filter((model) => !old.models.has(model));
  const held = [...reasons].filter(([, why]) => why.length === 0);
  const declared = [...old.models.keys()].map((model) => declaredIn(model, old, now));
  return {
    ...{ base: baseName, head: `libvirt:${after}`, subject: 'models' },
    findings: broken.map(([model, why]) => modelFinding(model, after, why)),
    held: held.map(([model]) => ({ model, pairs: 1 })),
    totals: { unchanged: held.length, broken: broken.length, added: added.length },
    removed: [],
    added: added.map((model) => ({ what: `model ${model}`, pairs: 1 })),
    notes: [
      ...declaredNote(
        declared.map(({ alwaysThere }) => alwaysThere),
        "added='yes', always on with these models",
      ),
      ...declaredNote(
        declared.map(({ takenBack }) => takenBack),
        "removed='yes', written out in each guest's XML",
      ),
    ],
  };
}

/** What a model gained as always there, and what it lost as taken back. */
function declaredIn(model: string, old: LibvirtMap, now: LibvirtMap): Pick<LibvirtModel, 'alwaysThere' | 'takenBack'> {
  const [before, after] = [old.models.get(model), now.models.get(model)];
  const names = (given: Iterable<string> | undefined, of: (name: string) => boolean | undefined): Set<string> =>
    new Set([...(given ?? [])].filter(of));
  return {
    alwaysThere: names(after?.alwaysThere, (name) => before && !before.features.has(name)),
    takenBack: names(after?.takenBack, (name) => before?.features.has(name)),
  };
}

function declaredNote(models: readonly ReadonlySet<string>[], how: string): string[] {
  const names = new Set(models.flatMap((model) => [...model]));
  const changed = models.filter(({ size }) => size > 0).length;
  return names.size ? [`${changed} models declare features as ${how}: ${[...names].sort().join(' ')}`] : [];
}

function changedModel(model: string, old: LibvirtMap, now: LibvirtMap): Reason[] {
  const [before, after] = [old.models.get(model)!, now.models.get(model)];
  if (!after)
    return [reason({ code: 'model-removed', step: 'cpu-map', layer: 'monitor', message: `model ${model} is gone` })];
  const bits = (map: LibvirtMap, names: ReadonlySet<string>): Map<BitName, string> =>
    new Map([...names].flatMap((name) => (map.features.get(name) ?? []).map((bit) => [bit, name] as const)));
  const declared = declaredIn(model, old, now);
  const but = (names: ReadonlySet<string>, without: ReadonlySet<string>): Set<string> =>
    new Set([...names].filter((name) => !without.has(name)));
  const [a, b] = [
    bits(old, but(before.features, declared.takenBack)),
    bits(now, but(after.features, declared.alwaysThere)),
  ];
  const only = (one: Map<BitName, string>, other: Map<BitName, string>): string[] => [
    ...new Set([...one].filter(([bit]) => !other.has(bit)).map(([, name]) => name)),
  ];
  return [
    ...only(b, a).map((name) => featureReason('model-feature-added', name, now, 'new in this model')),
    ...only(a, b).map((name) => featureReason('model-feature-removed', name, old, 'gone from this model')),
  ];
}

function featureReason(code: string, feature: string, map: LibvirtMap, what: string): Reason {
  const [bit] = map.features.get(feature) ?? [];
  const place = bit === undefined ? {} : placeOf(bit);
  const facts = code === 'model-feature-added' ? { code: 'model-feature-added' } : { code: 'model-feature-removed' };
  const values = code === 'model-feature-added' ? { contract: '0', guest: '1' } : { contract: '1', guest: '0' };
  const message = `${bit?.includes('E') ? 'CPUID' : 'MSR'} ${bit ?? ''} (${feature}): ${what}`;
  return reason({ ...facts, step: 'cpu-map', layer: 'monitor', feature, ...place, ...values, message });
}

/** `7.0.EBX[9]`, or `0x0000010a[3]` of an MSR. */
function placeOf(name: BitName): Partial<Reason> {
  const [, leaf, subleaf, register, bit] = /^([0-9A-F]+)(?:\.([0-9A-F]+))?\.(E[A-D]X)\[(\d+)\]$/.exec(name) ?? [];
  if (leaf === undefined) return { msr: name.slice(0, name.indexOf('[')) };
  return {
    leaf: hex32(Number.parseInt(leaf, 16)),
    subleaf: subleaf === undefined ? null : hex32(Number.parseInt(subleaf, 16)),
    register: register!.toLowerCase() as Reason['register'],
    bit: Number(bit),
  };
}

function modelFinding(model: string, folder: string, reasons: readonly Reason[]): GateFinding {
  const names = (code: string): string[] =>
    reasons.filter((why) => why.code === code).map(({ feature }) => `<feature name='${feature}'/>`);
  const lines = [
    ...names('model-feature-added').map((line) => `take out ${line}`),
    ...names('model-feature-removed').map((line) => `put in ${line}`),
  ];
  return {
    ...{ kind: reasons.some(({ code }) => code === 'model-removed') ? 'removed' : 'changed', reasons },
    ...{ pairs: [`libvirt/${model}`], models: [model], machines: [] },
    causes: [{ file: folder, line: null, property: null, before: undefined, after: undefined, text: `model ${model}` }],
    effects: [
      'a guest that names this model gets other features from it, and libvirt refuses or changes it on a move to a host with the other map',
    ],
    fix: lines.map((line) => ({ line, machines: [] })),
  };
}
