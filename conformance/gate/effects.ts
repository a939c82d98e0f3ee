/** What changed CPUID and MSRs mean to a guest, in words. */
import type { Reason } from '../../corpora/verdict.js';

/** Leaves by what they tell (SDM vol. 2A CPUID, APM vol. 3 appendix E); the first that fits. */
const TOPICS: readonly { readonly leaves: readonly string[]; readonly registers?: string; readonly text: string }[] = [
  {
    leaves: ['00000000', '80000000', 'c0000000'],
    registers: 'eax',
    text: 'another highest leaf: guests stop reading CPUID elsewhere than before, and leaves appear or vanish',
  },
  {
    leaves: ['00000001', '80000001'],
    registers: 'eax',
    text: 'another family, model or stepping: guests choose other errata workarounds and tunings, and licences and activation bound to the CPU may fail',
  },
  { leaves: ['80000002', '80000003', '80000004'], text: 'another CPU name in /proc/cpuinfo and to licence checks' },
  {
    leaves: ['80000008'],
    registers: 'eax',
    text: 'another address width: memory and MTRR layouts that were valid may no longer be',
  },
  {
    leaves: ['00000002', '00000004', '80000005', '80000006', '8000001d'],
    text: 'other caches: guests tune and schedule otherwise, and a guest that moves runs on stale values',
  },
  { leaves: ['0000000b', '0000001f', '8000001e'], text: 'another topology: vCPUs are grouped otherwise' },
  { leaves: ['0000000d'], text: 'other XSAVE state: its size and offsets are part of every saved context' },
  { leaves: ['0000000a'], text: 'another PMU: counters that guests use vanish or appear' },
];
/** Topics that explain the others. */
const FIRST = 2;
const PARAVIRTUAL = 'other paravirtual interfaces of the hypervisor';
const OTHER = 'other CPUID contents';

/** One line per kind of effect: levels and names of the CPU, features, what follows from them. */
export function effectsOf(reasons: readonly Reason[]): string[] {
  const topics = [...new Set(reasons.flatMap((why) => topicOf(why) ?? []))];
  const first = TOPICS.slice(0, FIRST).map(({ text }) => text);
  const features = reasons.filter(({ feature }) => feature !== null);
  const gained = features.filter(({ guest, bit }) => bitIn(guest, bit));
  const lost = features.filter(({ guest, bit }) => !bitIn(guest, bit));
  return [
    ...first.filter((text) => topics.includes(text)),
    ...named('find', gained, 'they begin to use it, and can then no longer go where the released CPU is shown'),
    ...named('lose', lost, 'one that uses it fails (#UD, #GP) once it is moved or resumed here'),
    ...topics.filter((text) => !first.includes(text)),
  ];
}

/** `contract` and `guest` of a bit's reason hold the whole register. */
const bitIn = (value: string | null, bit: number | null): boolean => ((Number(value) >>> (bit ?? 0)) & 1) === 1;

const SHOWN = 12;

function named(verb: string, reasons: readonly Reason[], what: string): string[] {
  const names = [...new Set(reasons.map(({ feature }) => feature!))];
  if (names.length === 0) return [];
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '';
  return [`guests ${verb} ${names.slice(0, SHOWN).join(', ')}${more}: ${what}`];
}

function topicOf({ leaf, register, feature, msr, code, message }: Reason): string | null {
  if (msr !== null) return 'MSRs exist or begin otherwise: reads that worked may fault, and state may not travel';
  if (code.endsWith('-removed') && leaf === null) return `guests of it cannot be started any more (${message})`;
  if (feature !== null || leaf === null || register === null) return null;
  const digits = leaf.slice(2);
  if (digits.startsWith('4000')) return PARAVIRTUAL;
  const topic = TOPICS.find(
    ({ leaves, registers = register }) => leaves.includes(digits) && registers.includes(register),
  );
  return topic?.text ?? OTHER;
}
