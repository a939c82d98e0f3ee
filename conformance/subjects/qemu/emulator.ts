/** Differences between two releases that no machine type promises (TCG's own answers, forced features), taken out of an observation: machine types promise nothing of them. */

import type { Register } from '../../../corpora/cpuid.js';
import { REGISTERS } from '../../../corpora/cpuid.js';
import type { CpuIdentity } from '../../../corpora/identity.js';
import type { VcpuObservation } from '../../../corpora/observation.js';
import { type CpuidAnswerer, expectedAnswer } from '../../oracle/expected-cpuid.js';
import { QEMU_RELEASES } from '../../packages/qemu-trees.js';

/** The release whose emulator a QEMU of this version is: the newest known one that is not newer, or the oldest. */
export function emulatorOf(version: string): string {
  const number = (text: string): number => {
    const [major = 0, minor = 0] = text.split('.').map(Number);
    return major * 1000 + minor;
  };
  return QEMU_RELEASES.findLast((release) => number(release) <= number(version)) ?? QEMU_RELEASES[0]!;
}

/**
 * `seen` with every bit that the emulators are known to answer differently, and that holds what `theirs` says, as `ours` says it. A bit that holds anything
 * else stays, so that it is compared.
 */
export const underEmulator = (
  seen: VcpuObservation,
  ours: CpuIdentity['vcpus'][number],
  theirs: CpuIdentity['vcpus'][number],
  answerer: CpuidAnswerer,
): VcpuObservation => ({
  ...seen,
  cpuid: seen.cpuid.map((row) => {
    const [one, other] = [ours, theirs].map(({ cpuid }) => expectedAnswer(cpuid, row.leaf, row.subleaf, answerer));
    const register = (name: Register): number => {
      const known = one![name] ^ other![name];
      return ((row[name] ^ other![name]) & known) === 0
        ? ((row[name] & ~known) | (one![name] & known)) >>> 0
        : row[name];
    };
    return { ...row, ...Object.fromEntries(REGISTERS.map((name) => [name, register(name)])) };
  }),
});
