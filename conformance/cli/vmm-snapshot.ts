/** `vmm snapshot`: has a running machine save itself, by its control socket, and shows what a snapshot file holds. */
import { basename, dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, type ExitCode, InputError } from '../../corpora/errors.js';
import { formatSmp } from '../../corpora/smp.js';
import { SnapshotFile } from '../../reference-vmm/snapshot/file.js';
import { connectQmp, type QmpClient } from '../import/qmp-client.js';
import { type CommonOptions, print, printJson } from './output.js';
import { socketOf } from './qmp-option.js';

export interface VmmSaveOptions extends CommonOptions {
  readonly qmp: string;
  readonly to: string;
  readonly stopped?: boolean;
  readonly maxBandwidth?: number;
}

/** As `query-migrate` and `query-jobs` give it. */
interface Saved {
  readonly status: string;
  readonly error?: string;
  readonly 'total-time'?: number;
  readonly downtime?: number;
}

const POLL_MS = 20;
const CONNECT_MS = 2000;
const EXTENSION = '.snapshot';
const JOB = 'vmm-snapshot';

/** Exit code: 0 saved; 1 given up by an interrupt; 3 the machine could not. In the last two there is no file. */
export async function vmmSave(options: VmmSaveOptions): Promise<ExitCode> {
  const { to, stopped = false, maxBandwidth = 0, json = false } = options;
  const file = resolve(to);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*\.snapshot$/.test(basename(file)))
    throw new InputError(
      'bad-snapshot-name',
      `--to ${to}: the name must end with ${EXTENSION}, of letters, digits, '.', '_' and '-'`,
      {
        given: to,
      },
    );
  await using qmp = await connectQmp(socketOf(options.qmp), CONNECT_MS);
  const end = stopped ? await saveStopped(qmp, file) : await saveLive(qmp, file, maxBandwidth);
  if (json) printJson('vmm-snapshot-save', { file, stopped, ...end });
  else if (end.status === 'completed') print(saidOf(file, stopped, end));
  else print(end.status === 'cancelled' ? 'given up: there is no file, the guest runs on' : `not saved: ${end.error}`);
  if (end.status === 'completed') return EXIT.holds;
  return end.status === 'cancelled' ? EXIT.broken : EXIT.cannot;
}

const saidOf = (file: string, stopped: boolean, { downtime, 'total-time': total }: Saved): string =>
  stopped
    ? `saved the stopped guest to ${file}`
    : `saved to ${file} in ${total} ms; the guest stood still for ${downtime} ms`;

/** QEMU's way: a migration to a file with the capability for it, which is put back after. */
async function saveLive(qmp: QmpClient, file: string, maxBandwidth: number): Promise<Saved> {
  const background = (state: boolean): Promise<unknown> =>
    qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'background-snapshot', state }] });
  const { 'max-bandwidth': before } = (await qmp.execute('query-migrate-parameters')) as { 'max-bandwidth': number };
  const cancel = (): void => void qmp.execute('migrate_cancel').catch(() => undefined);
  process.once('SIGINT', cancel);
  await background(true);
  try {
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': maxBandwidth });
    await qmp.execute('migrate', { uri: `file:${file}` });
    for (;;) {
      const info = (await qmp.execute('query-migrate')) as Saved & { 'error-desc'?: string };
      const { 'error-desc': error, status } = info;
      if (['completed', 'failed', 'cancelled'].includes(status))
        return { ...info, ...(error !== undefined && { error }) };
      await sleep(POLL_MS);
    }
  } finally {
    process.removeListener('SIGINT', cancel);
    await background(false);
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': before });
  }
}

async function saveStopped(qmp: QmpClient, file: string): Promise<Saved> {
  const [folder, tag] = [dirname(file), basename(file, EXTENSION)];
  await qmp.execute('snapshot-save', { 'job-id': JOB, tag, vmstate: folder, devices: [folder] });
  for (;;) {
    const jobs = (await qmp.execute('query-jobs')) as { id: string; status: string; error?: string }[];
    const { status, error } = jobs.find(({ id }) => id === JOB)!;
    if (status === 'concluded') {
      await qmp.execute('job-dismiss', { id: JOB });
      return error === undefined ? { status: 'completed' } : { status: 'failed', error };
    }
    await sleep(POLL_MS);
  }
}

/** Checks the whole file, and says what is in it. Throws as `SnapshotFile` does. */
export function vmmShow(file: string, { json = false }: CommonOptions): ExitCode {
  using snapshot = new SnapshotFile(file);
  let pages = 0;
  snapshot.check(() => pages++);
  const { identity, memoryBytes, vcpus, devices } = snapshot.core;
  const { pair, vendor } = identity;
  const facts = { file, pair, smp: formatSmp(identity.smp), vendor, memoryBytes, pages, fileBytes: snapshot.fileBytes };
  const machine = {
    vcpus: vcpus.length,
    msrs: vcpus[0]!.msrs.length,
    tscKhz: vcpus[0]!.tscKhz,
    devices: Object.keys(devices),
  };
  if (json) printJson('vmm-snapshot', { ...facts, ...machine });
  else
    print(
      [
        `${pair} smp ${facts.smp}: whole, every checksum holds`,
        `memory    ${memoryBytes / 1024 / 1024} MiB, ${pages} of ${memoryBytes / 4096} pages not zero`,
        `vCPUs     ${machine.vcpus}, each with ${machine.msrs} MSRs; TSC ${machine.tscKhz} kHz`,
        `devices   ${machine.devices.join(', ')}`,
        `size      ${facts.fileBytes} bytes`,
      ].join('\n'),
    );
  return EXIT.holds;
}
