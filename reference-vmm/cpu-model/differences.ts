/** Differences of CPUID tables and shortfalls of a host, as reasons: one for each bit of a feature word, by the feature's name. */
import { type CpuidField, type CpuidRow, type CpuidTable, fieldName, REGISTERS } from '../../corpora/cpuid.js';
import { hex32 } from '../../corpora/hex.js';
import { type Layer, type Reason, reason } from '../../corpora/verdict.js';
import type { Shortfall } from './offered.js';

/** Gives the name of a CPUID bit (`corpora/features`), or undefined where nobody names it. */
export type FeatureNamer = (field: CpuidField, bit: number) => string | undefined;

/** Where in a run a reason arose. */
export interface ReasonPlace {
  readonly step: string;
  readonly vcpu: number;
  readonly nameOf: FeatureNamer;
}

/** A register that is `wanted` by the identity and `got` here. */
export interface RegisterDifference extends CpuidField {
  readonly wanted: number;
  readonly got: number;
}

/** The layer that a difference is laid to, where it depends on the bits of the register. */
export type LayerOf = (bits: number) => Layer | null;

/**
 * The reasons for one register. Bits that have a name get one each; a difference in bits without any name is one reason for the register
 * (with its bit where it is only one).
 * `code`, `layer` and `verb` say what happened (`kernel shows`).
 */
export function registerReasons(
  { wanted, got, ...field }: RegisterDifference,
  differing: number,
  { step, vcpu, nameOf }: ReasonPlace,
  { code, layer, verb }: { readonly code: string; readonly layer: Layer | null | LayerOf; readonly verb: string },
): Reason[] {
  const layerOf: LayerOf = typeof layer === 'function' ? layer : () => layer;
  const name = `CPUID ${fieldName(field)}`;
  const [contract, guest] = [hex32(wanted), hex32(got)];
  const whole = reason({
    code,
    step,
    vcpu,
    layer: layerOf(differing),
    leaf: hex32(field.leaf),
    subleaf: field.subleaf === null ? null : hex32(field.subleaf),
    register: field.register,
    contract,
    guest,
    message: `${name}: contract ${contract}, ${verb} ${guest}`,
  });
  const bits = bitsOf(differing).map((bit) => ({ bit, feature: nameOf(field, bit) ?? null }));
  if (bits.every(({ feature }) => feature === null)) {
    const [one, second] = bits;
    if (!one || second) return [whole];
    return [{ ...whole, bit: one.bit, message: `${name}[${one.bit}]: contract ${contract}, ${verb} ${guest}` }];
  }
  return bits.map(({ bit, feature }) => {
    const [before, now] = [(wanted >>> bit) & 1, (got >>> bit) & 1];
    const named = `${name}[${bit}]${feature === null ? '' : ` (${feature})`}`;
    return {
      ...whole,
      layer: layerOf(1 << bit),
      bit,
      feature,
      message: `${named}: contract ${before}, ${verb} ${now}`,
    };
  });
}

/** The numbers of the bits that are set, ascending. */
function bitsOf(word: number): number[] {
  const bits: number[] = [];
  for (let rest = word; rest !== 0; rest &= rest - 1) bits.push(31 - Math.clz32(rest & -rest));
  return bits;
}

const SHORTFALL = {
  feature: { code: 'cpuid-not-offered', verb: 'host offers' },
  content: { code: 'cpuid-content-differs', verb: 'host has' },
  'xsave-layout': { code: 'xsave-layout-differs', verb: 'host CPU has' },
} as const;

/** A feature that the CPU has was taken away by the kernel; all else the CPU lacks. */
export const shortfallReasons = (found: readonly Shortfall[], place: ReasonPlace): Reason[] =>
  found.flatMap(({ kind, offered, missing, inCpu, ...field }) => {
    const layer: LayerOf = (bits) => ((bits & ~inCpu) === 0 ? 'kernel' : 'host-cpu');
    return registerReasons({ ...field, got: offered }, missing, place, { ...SHORTFALL[kind], layer });
  });

/** The features of shortfalls, for a list of what was forced: names where there are any, else `7.0.EBX[9]`. */
export const shortfallNames = (found: readonly Shortfall[], nameOf: FeatureNamer): string[] =>
  found.flatMap((field) => bitsOf(field.missing).map((bit) => nameOf(field, bit) ?? fieldName(field, bit)));

/** Who made a table differ, in codes and messages. */
export interface Alterer {
  /** Codes are `<prefix>-altered`, `<prefix>-row-added`, `<prefix>-row-removed`. */
  readonly prefix: string;
  readonly layer: Layer;
  readonly name: string;
}
export const KERNEL: Alterer = { prefix: 'cpuid', layer: 'kernel', name: 'kernel' };
/** For the definitions of today against a contract. */
export const DEFINITIONS: Alterer = { prefix: 'definition', layer: 'monitor', name: 'definition' };
/** For a contract file against what it was. */
export const EDITED_CONTRACT: Alterer = { prefix: 'contract', layer: 'monitor', name: 'edited contract' };
/** For the identity that a state was taken from against the machine that is to take it. */
export const STATE: Alterer = { prefix: 'identity', layer: 'monitor', name: 'state' };

const EMPTY = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Every difference of two tables, such as what a kernel was given and what it gives back: rows first named, then bit by bit. None = equal. */
export function alterations(
  wanted: CpuidTable,
  got: CpuidTable,
  place: ReasonPlace,
  alterer: Alterer = KERNEL,
): Reason[] {
  const lost = wanted.rows.filter(({ leaf, subleaf }) => !got.get(leaf, subleaf));
  return [
    ...lost.flatMap((row) => [
      rowReason('removed', row, place, alterer),
      ...rowReasons(row, { ...row, ...EMPTY }, place, alterer),
    ]),
    ...got.rows.flatMap((row) => {
      const before = wanted.get(row.leaf, row.subleaf);
      if (before) return rowReasons(before, row, place, alterer);
      return [rowReason('added', row, place, alterer), ...rowReasons({ ...row, ...EMPTY }, row, place, alterer)];
    }),
  ];
}

function rowReason(
  what: 'added' | 'removed',
  { leaf, subleaf }: CpuidRow,
  { step, vcpu }: ReasonPlace,
  by: Alterer,
): Reason {
  const name = fieldName({ leaf, subleaf, register: 'eax' }).replace(/\.EAX$/, '');
  return reason({
    ...{ code: `${by.prefix}-row-${what}`, step, vcpu, layer: by.layer },
    leaf: hex32(leaf),
    subleaf: subleaf === null ? null : hex32(subleaf),
    message: `CPUID ${name}: row ${what} by the ${by.name}`,
  });
}

const rowReasons = (wanted: CpuidRow, got: CpuidRow, place: ReasonPlace, by: Alterer): Reason[] =>
  REGISTERS.filter((register) => wanted[register] !== got[register]).flatMap((register) =>
    registerReasons(
      { leaf: got.leaf, subleaf: got.subleaf, register, wanted: wanted[register], got: got[register] },
      wanted[register] ^ got[register],
      place,
      { code: `${by.prefix}-altered`, layer: by.layer, verb: `${by.name} shows` },
    ),
  );
