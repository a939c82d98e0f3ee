/** What differs between facts that change a guest: lists that two files of one kind have, such as Firecracker's `kvm_capabilities`. */
import type { NameDifference } from './diff-names.js';
import { type CpuDump, sameKind } from './dump.js';

/** Facts that are lists, parted by blanks. Versions and names of hosts change no guest, and are not here. */
const LISTS = ['kvm_capabilities', 'permitted_msrs'] as const;

/** Each item that only one side lists; `equal` counts the others. A file that does not name a list has none. */
export function diffFacts(a: CpuDump, b: CpuDump): { differences: NameDifference[]; equal: number } {
  if (!sameKind(a, b) || hasRows(a) !== hasRows(b)) return { differences: [], equal: 0 };
  const items = LISTS.flatMap((fact) => {
    const [one, two] = [itemsOf(a, fact), itemsOf(b, fact)];
    const listed = (side: ReadonlySet<string>, item: string): 'listed' | null => (side.has(item) ? 'listed' : null);
    return [...new Set([...one, ...two])].map(
      (item): NameDifference => ({ kind: 'name', what: `${fact} ${item}`, a: listed(one, item), b: listed(two, item) }),
    );
  });
  const differences = items.filter((item) => item.a !== item.b);
  return { differences, equal: items.length - differences.length };
}

/** Cloud Hypervisor's profiles of CPUID and of MSRs are two files: one says nothing of what the other lists. */
const hasRows = ({ cpus }: CpuDump): boolean => cpus.some(({ cpuid }) => cpuid.size > 0);

const itemsOf = ({ facts }: CpuDump, fact: string): Set<string> => new Set(facts[fact]?.split(' ').filter(Boolean));
