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
  if (name === 'local' || /^(lab|ssh|recorded):/.test(name)) return;
  throw new InputError('unknown-host', `unknown host '${name}': local, lab:KERNEL, ssh:USER@HOST or recorded:FILE`, {
    given: name,
  });
}
