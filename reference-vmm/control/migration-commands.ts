/** QMP commands of migration: parameters, capabilities, start, cancel and how far it is. */
import { BackgroundSnapshot } from './background-snapshot.js';
import type { ControlledMachine } from './controlled-machine.js';
import { migrationInfo } from './migration-info.js';
import type { OutgoingMigration } from './outgoing-migration.js';
import { command, type EmitEvent, type QmpCommands } from './qmp-command.js';
import { QmpError } from './qmp-error.js';

/** QEMU's capabilities that this monitor has; all others are refused by name. */
const CAPABILITIES = ['events', 'background-snapshot'] as const;
type Capability = (typeof CAPABILITIES)[number];

interface Parameters {
  /** Milliseconds. */
  readonly 'downtime-limit': number;
  /** Bytes a second; 0 = no limit. */
  readonly 'max-bandwidth': number;
  /** Of no effect, as nothing is copied after a switch-over; managers set it together with the other. */
  readonly 'max-postcopy-bandwidth': number;
}
const MOST_DOWNTIME_MS = 2_000_000;

export class MigrationControl {
  readonly #machine: ControlledMachine;
  readonly #emit: EmitEvent;
  readonly #on = new Set<Capability>();
  #parameters: Parameters = { 'downtime-limit': 300, 'max-bandwidth': 0, 'max-postcopy-bandwidth': 0 };
  #outgoing: OutgoingMigration | null = null;

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
      migrate_cancel: command({}, () => this.#outgoing?.cancel()),
      'query-migrate': command({}, () => (this.#outgoing ? migrationInfo(this.#outgoing.facts) : {})),
      'migrate-set-parameters': command(
        { 'downtime-limit?': 'integer', 'max-bandwidth?': 'integer', 'max-postcopy-bandwidth?': 'integer' },
        (given: Partial<Parameters>) => this.#set(given),
      ),
      'query-migrate-parameters': command({}, () => this.#parameters),
      'migrate-set-capabilities': command(
        { capabilities: { list: { object: { capability: { enum: CAPABILITIES }, state: 'boolean' } } } },
        ({ capabilities }: { capabilities: readonly { capability: Capability; state: boolean }[] }) => {
          for (const { capability, state } of capabilities)
            if (state) this.#on.add(capability);
            else this.#on.delete(capability);
        },
      ),
      'query-migrate-capabilities': command({}, () =>
        CAPABILITIES.map((capability) => ({ state: this.#on.has(capability), capability })),
      ),
    };
  }

  #migrate(uri: string | undefined): void {
    if (uri === undefined) throw new QmpError("need 'uri': this monitor takes no 'channels'");
    if (this.isActive) throw new QmpError("There's a migration process in progress");
    const { state } = this.#machine;
    if (!['prelaunch', 'running', 'paused'].includes(state))
      throw new QmpError(`Guest is in state '${state}': there is nothing to migrate`);
    const [protocol = '', ...rest] = uri.split(':');
    if (!this.#on.has('background-snapshot')) throw new QmpError(`unknown migration protocol: ${uri}`);
    this.#saveLive(protocol, rest.join(':'), uri);
  }

  #saveLive(protocol: string, file: string, uri: string): void {
    if (protocol !== 'file' || !file) throw new QmpError(`a background snapshot goes to file:PATH, not to ${uri}`);
    const limit = this.#parameters['max-bandwidth'] || Number.POSITIVE_INFINITY;
    this.#outgoing = new BackgroundSnapshot(this.#machine.live, file, limit, (status) => {
      if (this.#on.has('events')) this.#emit('MIGRATION', { status });
    });
  }

  get isActive(): boolean {
    return ['setup', 'active', 'device', 'cancelling'].includes(this.#outgoing?.facts.status ?? '');
  }

  #set(given: Partial<Parameters>): void {
    const { 'downtime-limit': downtime = 0, 'max-bandwidth': bandwidth = 0 } = given;
    if (downtime < 0 || downtime > MOST_DOWNTIME_MS)
      throw new QmpError('Option downtime-limit expects an integer in the range of 0 to (2000 * 1000) ms');
    if (bandwidth < 0) throw new QmpError("Parameter 'max-bandwidth' expects bytes a second, 0 for no limit");
    this.#parameters = { ...this.#parameters, ...given };
  }

  /** Gives up what is under way, and waits for its end: the machine may be disposed then. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.isActive) return;
    this.#outgoing!.cancel();
    await this.#outgoing!.done;
  }
}
