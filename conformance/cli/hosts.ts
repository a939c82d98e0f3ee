/** From `--host` to hosts, opened. */
import { InputError } from '../../corpora/errors.js';
import { RECORDED } from '../../reports/result-log.js';
import type { Host } from '../hosts/host.js';
import { openLocalHost } from '../hosts/local.js';
import { openSshHost } from '../hosts/ssh.js';
import { shownOn } from './lab.js';
import { warn } from './output.js';
import { progressLine } from './progress.js';

/** Hosts that disposing ends. */
export interface OpenHosts extends AsyncDisposable {
  readonly hosts: readonly Host[];
}

/** Opens each named host once; `qemus`: releases that lab hosts are to have inside. Throws `InputError` on a name of no known form; closes what was opened where one fails. */
export async function openHosts(
  names: readonly string[] = ['local'],
  qemus: readonly string[] = [],
): Promise<OpenHosts> {
  for (const name of names) checkName(name);
  const hosts: Host[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
  };
  try {
    if (names.includes('local')) hosts.push(await openLocalHost({ onLost: warn }));
    for (const name of names.filter((one) => one.startsWith('ssh:')))
      hosts.push(await openSshHost(name.slice('ssh:'.length), { onLost: warn }));
    hosts.push(
      ...(await openLab(
        names.filter((name) => name.startsWith('lab:')),
        qemus,
      )),
    );
    for (const name of names.filter((one) => one.startsWith(RECORDED))) hosts.push(await openRecorded(name));
  } catch (error) {
    await close();
    throw error;
  }
  return { hosts, [Symbol.asyncDispose]: close };
}

/**
 * Hosts whose kernels run guests of the reference monitor, for sweeps of MSRs. Throws `InputError` on a recorded host, which would say what was to be found out, and on another
 * subject.
 */
export async function openSweptHosts(names: readonly string[] | undefined, subject: string): Promise<OpenHosts> {
  const recorded = names?.find((name) => name.startsWith(RECORDED));
  if (recorded) throw new InputError('recorded-host', `no guest runs on ${recorded}: name a host`, { given: recorded });
  if (subject !== 'reference-vmm')
    throw new InputError('sweep-subject', `--subject ${subject}: MSRs are swept with the reference monitor alone`, {
      given: subject,
    });
  return openHosts(names);
}

async function openLab(names: readonly string[], qemus: readonly string[]): Promise<readonly Host[]> {
  if (names.length === 0) return [];
  const { openLabHosts } = await import('../hosts/lab/pool.js');
  const progress = progressLine();
  try {
    return await openLabHosts(
      names.map((name) => name.slice('lab:'.length)),
      { onProgress: shownOn(progress), qemus },
    );
  } finally {
    progress.end();
  }
}

async function openRecorded(name: string): Promise<Host> {
  const { RecordedHost } = await import('../hosts/recorded/recorded-host.js');
  return RecordedHost.open(name.slice(RECORDED.length));
}

function checkName(name: string): void {
  if (name === 'local' || /^(lab|ssh|recorded):./.test(name)) return;
  throw new InputError('unknown-host', `unknown host '${name}': local, lab:KERNEL, ssh:USER@HOST or recorded:FILE`, {
    given: name,
  });
}
