/** What commands return and events carry, in the terms of `qmp-arguments.ts`: for `query-qmp-schema`. */
import type { ArgumentType, Shape } from './qmp-arguments.js';

const RUN_STATES = {
  enum: [
    ...['inmigrate', 'internal-error', 'paused', 'postmigrate', 'prelaunch', 'restore-vm', 'running', 'save-vm'],
    ...['shutdown', 'guest-panicked'],
  ],
};
const MIGRATION_STATUS = {
  enum: ['setup', 'active', 'device', 'cancelling', 'cancelled', 'completed', 'failed'],
};
const JOB_STATUS = { enum: ['created', 'running', 'waiting', 'pending', 'aborting', 'concluded', 'null'] };
const NO_SHAPE: Shape = {};

const listOf = (object: Shape): ArgumentType => ({ list: { object } });
const integers = (...names: readonly string[]): Shape =>
  Object.fromEntries(names.map((name) => [name, 'integer' as const]));

const PROPS: Shape = integers('core-id?', 'thread-id?', 'module-id?', 'die-id?', 'socket-id?');
const MODEL: Shape = { name: 'string', 'props?': 'any' };
const RAM: Shape = {
  ...integers('total', 'remaining', 'transferred', 'duplicate', 'normal', 'normal-bytes', 'dirty-pages-rate'),
  mbps: 'number',
  ...integers('dirty-sync-count', 'page-size', 'pages-per-second', 'precopy-bytes', 'downtime-bytes'),
  ...integers('postcopy-requests', 'postcopy-bytes', 'multifd-bytes', 'dirty-sync-missed-zero-copy'),
};

/** By command; those that are not here return the empty object. */
export const REPLIES: Readonly<Record<string, ArgumentType>> = {
  'query-status': { object: { status: RUN_STATES, running: 'boolean' } },
  'query-name': { object: { 'name?': 'string' } },
  'query-kvm': { object: { enabled: 'boolean', present: 'boolean' } },
  'query-uuid': { object: { UUID: 'string' } },
  'query-target': { object: { arch: { enum: ['x86_64'] } } },
  'query-version': { object: { qemu: { object: integers('major', 'minor', 'micro') }, package: 'string' } },
  'query-commands': listOf({ name: 'string' }),
  'query-qmp-schema': listOf({
    name: 'string',
    'meta-type': { enum: ['builtin', 'enum', 'array', 'object', 'command', 'event'] },
    ...{ 'json-type?': 'string', 'element-type?': 'string', 'arg-type?': 'string', 'ret-type?': 'string' },
    ...{ 'members?': { list: 'any' }, 'values?': { list: 'string' } },
  }),
  'query-cpus-fast': listOf({
    ...{ 'cpu-index': 'integer', 'qom-path': 'string', 'thread-id': 'integer', 'props?': { object: PROPS } },
    ...{ target: { enum: ['x86_64'] }, 'qom-type': 'string' },
  }),
  'query-hotpluggable-cpus': listOf({
    ...{ type: 'string', 'vcpus-count': 'integer', props: { object: PROPS }, 'qom-path?': 'string' },
  }),
  'query-machines': listOf({
    ...{ name: 'string', 'alias?': 'string', 'is-default?': 'boolean', 'cpu-max': 'integer' },
    ...{ 'hotpluggable-cpus': 'boolean', 'numa-mem-supported': 'boolean', deprecated: 'boolean', acpi: 'boolean' },
  }),
  'query-cpu-definitions': listOf({
    ...{ name: 'string', typename: 'string', 'unavailable-features?': { list: 'string' }, 'alias-of?': 'string' },
    ...{ static: 'boolean', 'migration-safe?': 'boolean', deprecated: 'boolean' },
  }),
  'query-cpu-model-expansion': { object: { model: { object: MODEL } } },
  'query-cpu-model-baseline': { object: { model: { object: MODEL } } },
  'query-cpu-model-comparison': {
    object: {
      result: { enum: ['incompatible', 'identical', 'superset', 'subset'] },
      'responsible-properties': { list: 'string' },
    },
  },
  'qom-get': 'any',
  'query-migrate': {
    object: {
      ...{ 'status?': MIGRATION_STATUS, 'total-time?': 'integer', 'setup-time?': 'integer', 'downtime?': 'integer' },
      ...{ 'ram?': { object: RAM }, 'error-desc?': 'string', 'notes?': { list: 'string' } },
    },
  },
  'query-migrate-parameters': {
    object: {
      ...integers('downtime-limit?', 'max-bandwidth?', 'max-postcopy-bandwidth?', 'max-rounds?', 'silence-limit?'),
      ...{ 'tls-creds?': 'string', 'tls-hostname?': 'string', 'when-not-converging?': 'string' },
    },
  },
  'query-migrate-capabilities': listOf({ capability: { enum: ['events', 'background-snapshot'] }, state: 'boolean' }),
  'query-jobs': listOf({
    ...{ id: 'string', status: JOB_STATUS, 'current-progress': 'integer', 'total-progress': 'integer' },
    ...{ type: { enum: ['snapshot-save', 'snapshot-load', 'snapshot-delete'] }, 'error?': 'string' },
  }),
};

/** What each event carries. */
export const EVENTS: Readonly<Record<string, Shape>> = {
  STOP: NO_SHAPE,
  RESUME: NO_SHAPE,
  RESET: { guest: 'boolean', reason: { enum: ['host-qmp-system-reset', 'guest-reset'] } },
  SHUTDOWN: { guest: 'boolean', reason: { enum: ['host-qmp-quit', 'guest-shutdown'] } },
  MIGRATION: { status: MIGRATION_STATUS },
  JOB_STATUS_CHANGE: { id: 'string', status: JOB_STATUS },
};
