/** MSRs that a QEMU's guest reads otherwise than the identity says: what firmware wrote before, and what an emulator does not model. */
import { readFileSync } from 'node:fs';
import { packageFile } from '../package-root.js';

interface Entry {
  readonly first: string;
  readonly last: string;
  readonly accelerators: readonly ('tcg' | 'kvm')[];
  /** The one other value that it may show, 16 digits; or what firmware made of it. */
  readonly shows: string;
  readonly why: string;
  readonly source: string;
}

/** What else than its identity's value an MSR may show: any (`firmware`), exactly one other, or nothing. */
export type OtherValue = 'firmware' | bigint | null;

let entries: readonly Entry[] | undefined;

/** What the MSR of this index may show under a QEMU beside its identity's value. */
export function shownUnderQemu(index: number, accelerator: 'tcg' | 'kvm'): OtherValue {
  entries ??= (JSON.parse(readFileSync(packageFile('corpora/volatility/under-qemu.json'), 'utf8')) as { msrs: Entry[] })
    .msrs;
  const entry = entries.find(
    ({ first, last, accelerators }) =>
      index >= Number(first) && index <= Number(last) && accelerators.includes(accelerator),
  );
  if (!entry) return null;
  return entry.shows === 'firmware' ? 'firmware' : BigInt(entry.shows);
}
