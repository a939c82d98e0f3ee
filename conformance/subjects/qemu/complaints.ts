/** What QEMU says on stderr, told apart: what ended it, what it warns of, which features it holds back. */

/** A QEMU that did not give what was asked, in one line. */
export interface Complaint {
  /** `qemu-machine-type`, `qemu-cpu-model`, `qemu-accelerator`, `qemu-enforce`, `qemu-killed`: somebody else ended it, `qemu-refused`: no more is known. */
  readonly code: string;
  readonly message: string;
}

/** Tried in this order. The texts are those of QEMU 5.2 to 11.1. */
const CAUSES: readonly (readonly [code: string, says: RegExp])[] = [
  ['qemu-machine-type', /unsupported machine type|No machine specified/],
  ['qemu-cpu-model', /unable to find CPU model/],
  ['qemu-accelerator', /Could not access KVM|invalid accelerator|failed to initialize \S+: |No accelerator/],
  ['qemu-enforce', /Host doesn't support requested features|TCG doesn't support requested features/],
  ['qemu-property', /Property '[^']*' not found|can't apply global|Invalid parameter|invalid option/i],
];

/** A feature that the accelerator cannot give, as QEMU warns of it: `CPUID[eax=07h,ecx=00h].EDX.spec-ctrl [bit 26]`. */
const WITHHELD = /doesn't support requested feature: (.+)$/;

/** Everything that QEMU wrote, as lines without the program's name. */
const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.replace(/^\S*qemu-system-\w+: /, '').trim())
    .filter(Boolean);

/** Why QEMU ended, from its stderr and how it ended: one line. */
export function complaintOf(stderr: string, ended: string): Complaint {
  const lines = linesOf(stderr).filter(
    (line) => !/^(\S+: )?warning: /.test(line) && !/^Use -\S+ help|^\*\*$/.test(line),
  );
  for (const [code, says] of CAUSES) {
    const line = lines.find((one) => says.test(one));
    if (line) return { code, message: line };
  }
  const last = lines[0];
  const code = /ended by SIG(KILL|TERM|INT|HUP)/.test(ended) ? 'qemu-killed' : 'qemu-refused';
  return { code, message: last ? `${last} (${ended})` : `no message (${ended})` };
}

/** Names of features that QEMU was asked for and whose accelerator lacks them; with `x-force-features` it shows them all the same. */
export const withheldFeatures = (stderr: string): string[] =>
  linesOf(stderr).flatMap((line) => WITHHELD.exec(line)?.[1] ?? []);
