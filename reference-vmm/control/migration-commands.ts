/** QMP commands of migration: parameters, capabilities, start, cancel and how far it is. */
import { GuestAbiError } from '../../corpora/errors.js';
import {
  DEFAULT_PARAMETERS,
  type MigrationParameters,
  NOT_CONVERGING,
  withParameters,
} from '../migration/parameters.js';
import { parseMigrationUri } from '../migration/uri.js';
import { prepareLiveSave } from '../snapshot/save-thread.js';
import { BackgroundSnapshot } from './background-snapshot.js';
import type { ControlledMachine } from './controlled-machine.js';
import { takeIncoming } from './incoming.js';
import { LiveMigration } from './live-migration.js';
import { type MigrationStatus, migrationInfo } from './migration-info.js';
import type { OutgoingMigration } from './outgoing-migration.js';
import { command, type EmitEvent, type QmpCommands } from './qmp-command.js';
import { QmpError } from './qmp-error.js';

/** QEMU's capabilities that this monitor has; all others are refused by name. */
const CAPABILITIES = ['events', 'background-snapshot'] as const;
type Capability = (typeof CAPABILITIES)[number];

/** QEMU's parameters of a migration that go beside `MigrationParameters`. */
const OTHER_PARAMETERS = {
  /** Of no effect, as nothing is copied after a switch-over; managers set it together with the other bandwidth. */
  'max-postcopy-bandwidth': 0,
  /** A folder of certificates, where QEMU has the id of an object that names one; empty for no TLS. */
  'tls-creds': '',
  'tls-hostname': '',
};
type Parameters = MigrationParameters & typeof OTHER_PARAMETERS;

/** QEMU's MAX_MIGRATE_DOWNTIME. */
const MOST_DOWNTIME_MS = 2_000_000;

export class MigrationControl {
  readonly #machine: ControlledMachine;
  readonly #emit: EmitEvent;
  readonly #on = new Set<Capability>();
  #parameters: Parameters = { ...DEFAULT_PARAMETERS, ...OTHER_PARAMETERS };
  #outgoing: OutgoingMigration | null = null;
  /** An incoming guest is awaited. */
  #waits = false;

  constructor(machine: ControlledMachine, emit: EmitEvent) {
    this.#machine = machine;
    this.#emit = emit;
  }

  get commands(): QmpCommands {
    return {
      migrate: command(
        { 'uri?': 'string', 'channels?': { list: 'any' }, 'detach?': 'boolean', 'resume?': 'boolean' },
        ({ uri }: { uri?: string }) => this.#migrate(uri),
      ),
      'migrate-incoming': command({ uri: 'string' }, ({ uri }: { uri: string }) => this.#incoming(uri)),
      migrate_cancel: command({}, () => this.#outgoing?.cancel()),
      'query-migrate': command({}, () => (this.#outgoing ? migrationInfo(this.#outgoing.facts) : {})),
      'migrate-set-parameters': command(
        {
          ...{ 'downtime-limit?': 'integer', 'max-bandwidth?': 'integer', 'max-postcopy-bandwidth?': 'integer' },
          ...{ 'tls-creds?': 'string', 'tls-hostname?': 'string' },
          ...{
            'max-rounds?': 'integer',
            'silence-limit?': 'integer',
            'when-not-converging?': { enum: NOT_CONVERGING },
          },
        },
        (given: Partial<Parameters>) => this.#set(given),
      ),
      'query-migrate-parameters': command({}, () => this.#parameters),
      'migrate-set-capabilities': command(
        { capabilities: { list: { object: { capability: { enum: CAPABILITIES }, state: 'boolean' } } } },
        ({ capabilities }: { capabilities: readonly { capability: Capability; state: boolean }[] }) => {
          for (const { capability, state } of capabilities)
            if (state) this.#switchOn(capability);
            else this.#on.delete(capability);
        },
      ),
      'query-migrate-capabilities': command({}, () =>
        CAPABILITIES.map((capability) => ({ state: this.#on.has(capability), capability })),
      ),
    };
  }

  #switchOn(capability: Capability): void {
    this.#on.add(capability);
    if (capability === 'background-snapshot') prepareLiveSave();
  }

  #migrate(uri: string | undefined): void {
    if (uri === undefined) throw new QmpError("need 'uri': this monitor takes no 'channels'");
    if (this.isActive) throw new QmpError("There's a migration process in progress");
    const { state } = this.#machine;
    if (!['prelaunch', 'running', 'paused'].includes(state))
      throw new QmpError(`Guest is in state '${state}': there is nothing to migrate`);
    const [protocol = '', ...rest] = uri.split(':');
    if (this.#on.has('background-snapshot')) this.#saveLive(protocol, rest.join(':'), uri);
    else this.#moveLive(uri);
  }

  readonly #tell = (status: MigrationStatus): void => {
    if (this.#on.has('events')) this.#emit('MIGRATION', { status });
  };

  #moveLive(uri: string): void {
    const { 'tls-creds': tlsCreds, 'tls-hostname': tlsHostname, ...parameters } = this.#parameters;
    if (!/^(unix|tcp|fd|exec):/.test(uri)) throw new QmpError(`unknown migration protocol: ${uri}`);
    orQmpError(() => parseMigrationUri(uri));
    this.#outgoing = new LiveMigration(this.#machine, { uri, parameters, tlsCreds, tlsHostname, tell: this.#tell });
  }

  async #incoming(uri: string): Promise<void> {
    if (this.#machine.state !== 'inmigrate') throw new QmpError("'-incoming' was not specified on the command line");
    if (this.#waits) throw new QmpError('The incoming migration has already been started');
    this.#waits = true;
    try {
      await takeIncoming(this.#machine, uri, this.#parameters['tls-creds']);
    } catch (error) {
      this.#waits = false;
      throw error instanceof GuestAbiError ? new QmpError(error.message) : error;
    }
  }

  #saveLive(protocol: string, file: string, uri: string): void {
    if (protocol !== 'file' || !file) throw new QmpError(`a background snapshot goes to file:PATH, not to ${uri}`);
    const limit = this.#parameters['max-bandwidth'] || Number.POSITIVE_INFINITY;
    this.#outgoing = new BackgroundSnapshot(this.#machine.live, file, limit, this.#tell);
  }

  get isActive(): boolean {
    return ['setup', 'active', 'device', 'cancelling'].includes(this.#outgoing?.facts.status ?? '');
  }

  #set(given: Partial<Parameters>): void {
    const { 'max-postcopy-bandwidth': _, 'tls-creds': __, 'tls-hostname': ___, ...changes } = given;
    const { 'downtime-limit': downtime = 0 } = changes;
    if (downtime < 0 || downtime > MOST_DOWNTIME_MS)
      throw new QmpError('Option downtime-limit expects an integer in the range of 0 to (2000 * 1000) ms');
    orQmpError(() => withParameters(this.#parameters, changes));
    this.#parameters = { ...this.#parameters, ...given };
  }

  /** Gives up what is under way, and waits for its end: the machine may be disposed then. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.isActive) return;
    this.#outgoing!.cancel();
    await this.#outgoing!.done;
  }
}

/** What the user gave wrong, in the error that clients get. */
function orQmpError<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof GuestAbiError ? new QmpError(error.message) : error;
  }
}
