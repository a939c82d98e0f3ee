/** MSRs that a QEMU's guest reads otherwise than the identity says: what firmware wrote before, and what an emulator does not model. */
import { readFileSync } from 'node:fs';
import { packageFile } from '../package-root.js';

interface Entry {
  readonly first: string;
  readonly last: string;
  readonly accelerators: readonly ('tcg' | 'kvm')[];
  /** Only where the CPU has this feature. */
  readonly when?: string;
  /** The one value that it shows instead, 16 digits; `firmware`: what firmware made of it; `count`: of what firmware did so far. */
  readonly shows: string;
  readonly why: string;
  readonly source: string;
}

/** What an MSR shows in place of its identity's value: another one, or what firmware left there. */
export type ShownUnderQemu = 'firmware' | 'count' | bigint;

let entries: readonly Entry[] | undefined;

/** What the MSR of this index shows under a QEMU to a CPU with these features; null: its identity's value. */
export function shownUnderQemu(
  index: number,
  accelerator: 'tcg' | 'kvm',
  features: readonly string[],
): ShownUnderQemu | null {
  entries ??= (JSON.parse(readFileSync(packageFile('corpora/volatility/under-qemu.json'), 'utf8')) as { msrs: Entry[] })
    .msrs;
  const entry = entries.find(
    ({ first, last, accelerators, when }) =>
      index >= Number(first) &&
      index <= Number(last) &&
      accelerators.includes(accelerator) &&
      (when === undefined || features.includes(when)),
  );
  if (!entry) return null;
  return entry.shows === 'firmware' || entry.shows === 'count' ? entry.shows : BigInt(entry.shows);
}
