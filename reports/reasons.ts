/** Reasons in words: those of one register and one kind become one line. */
import { fieldName, type Register } from '../corpora/cpuid.js';
import { bitNames } from '../corpora/features.js';
import { parseHex32 } from '../corpora/hex.js';
import type { Reason } from '../corpora/verdict.js';

/** One line per group of reasons that differ only in the bit, in the order of their first reason. */
export const reasonLines = (reasons: readonly Reason[]): string[] => {
  const last = lastVcpu(reasons);
  return groupsOf(reasons).map((group) => textOf(group, last));
};

/** The same for what a guest met: each line ends in the requirement that was broken. */
export const findingLines = (reasons: readonly Reason[]): string[] =>
  groupsOf(reasons).map((group) => {
    const { requirement } = group[0]!;
    const text = textOf(group, lastVcpu(reasons));
    return requirement === null ? text : `${text} [${requirement}]`;
  });

/** `1.ECX[19]: QEMU sse4.1, libvirt sse4.1, Linux sse4_1, cpuid.csv sse4_1`: each bit of a finding in the words of all dictionaries. */
export function nameLines(reasons: readonly Reason[]): string[] {
  const lines = reasons.flatMap(({ leaf, subleaf, register, bit }) => {
    if (leaf === null || register === null || bit === null) return [];
    const field = { leaf: parseHex32(leaf), subleaf: subleaf === null ? null : parseHex32(subleaf), register };
    const names = bitNames(field, bit);
    if (!names) return [];
    const { qemu, libvirt, linux, csv } = names;
    const each = { QEMU: qemu, libvirt, Linux: linux, 'cpuid.csv': csv };
    const told = Object.entries(each).map(([who, name]) => `${who} ${name ?? '-'}`);
    return [`${fieldName(field, bit)}: ${told.join(', ')}`];
  });
  return [...new Set(lines)];
}

function groupsOf(reasons: readonly Reason[]): Reason[][] {
  const groups = new Map<string, Reason[]>();
  for (const reason of reasons) {
    const key = groupKey(reason);
    groups.set(key, [...(groups.get(key) ?? []), reason]);
  }
  return [...groups.values()];
}

/** The highest number of a vCPU that something was found on. */
const lastVcpu = (reasons: readonly Reason[]): number =>
  reasons.reduce((last, { vcpu }) => Math.max(last, vcpu ?? 0), 0);

/** What is true of every vCPU up to the last is said once; what is not says of which. */
function textOf(group: readonly Reason[], last: number): string {
  const [first] = group;
  const one = new Set(group.map(({ bit }) => bit)).size === 1;
  const text = one ? first!.message : groupLine(group);
  const vcpus = [...new Set(group.flatMap(({ vcpu }) => vcpu ?? []))];
  return vcpus.length === 0 || vcpus.length > last ? text : `${text} (vCPU ${vcpus.join(', ')})`;
}

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

/** `1 cell`, `2 cells` */
export const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
