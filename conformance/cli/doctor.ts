/** What this machine can do: each check with its finding, and for each "no" its reason and its cure. */
import { spawnSync } from 'node:child_process';
import { GuestAbiError } from '../../corpora/errors.js';
import { listLab } from '../hosts/lab/setup.js';
import { openLocalHost } from '../hosts/local.js';
import { altersCpuid } from '../hosts/summary.js';

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
