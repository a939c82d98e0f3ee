/** `vmm migrate`: has a running machine migrate, by its control socket, and follows it to its end. */
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, type ExitCode, InputError, MachineError } from '../../corpora/errors.js';
import { DEFAULT_PARAMETERS, withParameters } from '../../reference-vmm/migration/parameters.js';
import { readTlsFolder } from '../../reference-vmm/migration/tls.js';
import { parseMigrationUri } from '../../reference-vmm/migration/uri.js';
import { connectQmp, type QmpClient, QmpCommandError } from '../import/qmp-client.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { socketOf } from './qmp-option.js';

export interface VmmMigrateOptions extends CommonOptions {
  readonly qmp: string;
  readonly to: string;
  readonly downtimeLimit?: number;
  readonly maxBandwidth?: number;
  readonly maxRounds?: number;
  readonly whenNotConverging?: string;
  readonly silenceLimit?: number;
  readonly tlsCreds?: string;
  readonly tlsHostname?: string;
  readonly keep?: boolean;
}

/** As `query-migrate` gives it. */
interface Info {
  readonly status: string;
  readonly 'total-time': number;
  readonly downtime?: number;
  readonly 'error-desc'?: string;
  /** Of the destination. */
  readonly notes?: readonly string[];
  readonly ram: {
    readonly transferred: number;
    readonly remaining: number;
    readonly normal: number;
    readonly duplicate: number;
    readonly 'dirty-sync-count': number;
  };
}

const POLL_MS = 50;
const CONNECT_MS = 2000;

/** Exit code: 0 where the guest moved, 1 where it stayed, 3 where nobody knows (`migration-unknown`). */
export async function vmmMigrate(options: VmmMigrateOptions): Promise<ExitCode> {
  const parameters = parametersOf(options);
  if (parseMigrationUri(options.to).kind === 'fd')
    throw new InputError('bad-migration-uri', 'fd:N names a descriptor of the source, not of this command', {
      given: options.to,
    });
  await using qmp = await connectQmp(socketOf(options.qmp), CONNECT_MS);
  await qmp.execute('migrate-set-parameters', parameters);
  await qmp.execute('migrate', { uri: options.to });
  const info = await follow(qmp);
  if (options.json) printJson('vmm-migrate', { to: options.to, ...info });
  else print(describe(info, options.to));
  if (info.status !== 'completed') return isUnknown(info) ? EXIT.cannot : EXIT.broken;
  if (!options.keep) await qmp.execute('quit');
  return EXIT.holds;
}

function parametersOf(options: VmmMigrateOptions): object {
  const given = {
    'downtime-limit': options.downtimeLimit,
    'max-bandwidth': options.maxBandwidth,
    'max-rounds': options.maxRounds,
    'when-not-converging': options.whenNotConverging,
    'silence-limit': options.silenceLimit,
  };
  const changes = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (options.tlsCreds !== undefined) readTlsFolder(options.tlsCreds, 'client');
  // All of them: the source keeps those of the migration before.
  return {
    ...withParameters(DEFAULT_PARAMETERS, changes),
    'tls-creds': options.tlsCreds === undefined ? '' : resolve(options.tlsCreds),
    'tls-hostname': options.tlsHostname ?? '',
  };
}

/** To the end; an interrupt cancels, once. */
async function follow(qmp: QmpClient): Promise<Info> {
  const cancel = (): void => void qmp.execute('migrate_cancel').catch(() => undefined);
  process.once('SIGINT', cancel);
  try {
    for (let said = ''; ; await sleep(POLL_MS)) {
      const info = (await qmp.execute('query-migrate')) as Info;
      if (['completed', 'failed', 'cancelled'].includes(info.status)) return info;
      const line = `${info.status}, round ${info.ram['dirty-sync-count'] + 1}`;
      if (line !== said) warn(line);
      said = line;
    }
  } catch (error) {
    if (error instanceof QmpCommandError) throw error;
    throw new MachineError('migration-unknown', `the source is gone: ${(error as Error).message}`, { cause: error });
  } finally {
    process.removeListener('SIGINT', cancel);
  }
}

const isUnknown = (info: Info): boolean => /may run at the destination/.test(info['error-desc'] ?? '');

function describe(info: Info, to: string): string {
  const { ram, downtime = 0 } = info;
  if (info.status === 'cancelled') return 'cancelled: the guest runs on where it was';
  if (info.status === 'failed')
    return isUnknown(info)
      ? `unknown: ${info['error-desc']}`
      : `failed, the guest stays where it was: ${info['error-desc']}`;
  const mib = (ram.transferred / 1024 / 1024).toFixed(2);
  const { notes = [] } = info;
  const noted = notes.map((note) => `\nnote: ${note}`).join('');
  return `migrated to ${to} in ${info['total-time']} ms, down for ${downtime} ms: ${ram['dirty-sync-count']} rounds, ${ram.normal} pages sent, ${mib} MiB${noted}`;
}
