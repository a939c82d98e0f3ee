/** Reasons in words: those of one register and one kind become one line. */
import { fieldName, type Register } from '../corpora/cpuid.js';
import { parseHex32 } from '../corpora/hex.js';
import type { Reason } from '../corpora/verdict.js';

/** One line per group of reasons that differ only in the bit, in the order of their first reason. */
export const reasonLines = (reasons: readonly Reason[]): string[] => groupsOf(reasons).map(textOf);

/** The same for what a guest met: each line ends in the requirement that was broken. */
export const findingLines = (reasons: readonly Reason[]): string[] =>
  groupsOf(reasons).map((group) => {
    const { requirement } = group[0]!;
    return requirement === null ? textOf(group) : `${textOf(group)} [${requirement}]`;
  });

function groupsOf(reasons: readonly Reason[]): Reason[][] {
  const groups = new Map<string, Reason[]>();
  for (const reason of reasons) {
    const key = groupKey(reason);
    groups.set(key, [...(groups.get(key) ?? []), reason]);
  }
  return [...groups.values()];
}

const textOf = (group: readonly Reason[]): string => (group.length === 1 ? group[0]!.message : groupLine(group));

const groupKey = (reason: Reason): string =>
  reason.register === null
    ? reason.message
    : [reason.code, reason.leaf, reason.subleaf, reason.register, reason.contract, reason.guest].join(' ');

/** `CPUID 1.ECX: aes, avx, [27]: contract 0, read-back 1` */
function groupLine(group: readonly Reason[]): string {
  const { leaf, subleaf, register, message } = group[0]!;
  const field = fieldName({
    leaf: parseHex32(leaf!),
    subleaf: subleaf === null ? null : parseHex32(subleaf),
    register: register as Register,
  });
  const bits = [...new Set(group.map((reason) => reason.feature ?? `[${reason.bit}]`))];
  const effect = message.slice(message.indexOf(': ') + 2);
  return `CPUID ${field}: ${bits.join(', ')}: ${effect}`;
}
