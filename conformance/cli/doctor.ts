/** What this machine can do: each check with its finding, and for each "no" its reason and its cure. */
import { spawnSync } from 'node:child_process';
import { GuestAbiError } from '../../corpora/errors.js';
import { listLab } from '../hosts/lab/setup.js';
import { openLocalHost } from '../hosts/local.js';
import { altersCpuid } from '../hosts/summary.js';
import { cachedQemu, QEMU_RELEASES } from '../packages/qemu-trees.js';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly finding: string;
  /** What to do about a "no"; null where nothing is wrong. */
  readonly cure: string | null;
}

export async function diagnose(): Promise<Check[]> {
  return [
    await checkKvm(),
    await checkLab(),
    await checkQemus(),
    checkTool('cc', 'apt-get install gcc', 'bench and the header test'),
    checkTool('as', 'apt-get install binutils', 'rebuilding the probes'),
  ];
}

async function checkLab(): Promise<Check> {
  const { root, qemu, kernels } = await listLab();
  const ok = qemu !== null && kernels.length > 0;
  return {
    name: 'lab',
    ok,
    finding: ok
      ? `QEMU ${qemu} and kernels ${kernels.map(({ id }) => id).join(', ')} in ${root}`
      : `the lab is not in ${root}`,
    cure: ok ? null : 'guest-abi lab setup (loads about 190 MiB of Debian packages)',
  };
}

async function checkQemus(): Promise<Check> {
  const found = await Promise.all(QEMU_RELEASES.map(async (release) => ((await cachedQemu(release)) ? release : null)));
  const [here, missing] = [true, false].map((there) => QEMU_RELEASES.filter((_, i) => (found[i] !== null) === there));
  const ok = missing!.length === 0;
  return {
    name: 'qemu',
    ok,
    finding: `subjects ${here!.map((release) => `qemu-${release}`).join(', ') || 'none'}${ok ? '' : `; not in the cache: ${missing!.join(', ')}`}`,
    cure: ok ? null : `guest-abi lab setup --qemu ${missing!.join(',')} (some 45 MiB each)`,
  };
}

async function checkKvm(): Promise<Check> {
  try {
    await using host = await openLocalHost();
    const { kernel, module, cpu, note } = host.summary;
    const exact = !altersCpuid(host.capabilities);
    return {
      name: 'kvm',
      ok: exact,
      finding: `/dev/kvm: ${kernel} ${module} on ${cpu}: ${note}`,
      cure: exact
        ? null
        : 'exact verdicts need another host: --host lab:6.12, or --host ssh:USER@HOST; here observe with --allow-altered',
    };
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    return {
      name: 'kvm',
      ok: false,
      finding: error.message,
      cure: error.nearest[0] ?? 'run where /dev/kvm is offered',
    };
  }
}

function checkTool(name: string, cure: string, use: string): Check {
  const { status, stdout } = spawnSync(name, ['--version'], { encoding: 'utf8' });
  const ok = status === 0;
  return {
    name,
    ok,
    finding: ok ? stdout.split('\n')[0]! : `${name} is not installed; needed only for ${use}`,
    cure: ok ? null : cure,
  };
}
