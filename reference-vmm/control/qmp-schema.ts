/** `query-qmp-schema`: commands, events and their types as QEMU tells them (qapi/introspect.json). */
import type { ArgumentType, Shape } from './qmp-arguments.js';
import type { QmpCommands } from './qmp-command.js';
import { EVENTS, REPLIES } from './qmp-replies.js';

/** One SchemaInfo. */
export type SchemaInfo = Readonly<Record<string, unknown>> & { readonly name: string; readonly 'meta-type': string };

/** Types that have their names also on the wire; all others are numbered. */
const BUILT_IN = {
  string: { name: 'str', json: 'string' },
  integer: { name: 'int', json: 'int' },
  number: { name: 'number', json: 'number' },
  boolean: { name: 'bool', json: 'boolean' },
  any: { name: 'any', json: 'value' },
} as const;

/** Everything that clients may ask and hear. */
export function qmpSchema(commands: QmpCommands): SchemaInfo[] {
  const types = new Types();
  const asked = Object.entries(commands).map(([name, { takes }]) => ({
    ...{ name, 'meta-type': 'command', 'arg-type': types.of({ object: takes }) },
    'ret-type': types.of(REPLIES[name] ?? { object: {} }),
  }));
  const told = Object.entries(EVENTS).map(([name, shape]) => ({
    ...{ name, 'meta-type': 'event', 'arg-type': types.of({ object: shape }) },
  }));
  return [...asked, ...told, ...types.infos];
}

/** The types that were asked for, each once. */
class Types {
  readonly infos: SchemaInfo[] = [];
  readonly #names = new Map<string, string>();

  of(type: ArgumentType): string {
    const key = JSON.stringify(type);
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    if (typeof type === 'string') {
      const { name, json } = BUILT_IN[type];
      return this.#add(key, name, { 'meta-type': 'builtin', 'json-type': json });
    }
    if ('list' in type) {
      const element = this.of(type.list);
      return this.#add(key, `[${element}]`, { 'meta-type': 'array', 'element-type': element });
    }
    if ('enum' in type) {
      const members = type.enum.map((name) => ({ name }));
      return this.#add(key, this.#number(), { 'meta-type': 'enum', members, values: type.enum });
    }
    const members = membersOf(type.object, (one) => this.of(one));
    return this.#add(key, this.#number(), { 'meta-type': 'object', members });
  }

  #numbered = 0;

  #number(): string {
    return `${this.#numbered++}`;
  }

  #add(key: string, name: string, info: Readonly<Record<string, unknown>> & { readonly 'meta-type': string }): string {
    this.#names.set(key, name);
    this.infos.push({ name, ...info });
    return name;
  }
}

/** What may be left out has a default that is not told. */
const membersOf = (shape: Shape, nameOf: (type: ArgumentType) => string): object[] =>
  Object.entries(shape).map(([key, type]) => ({
    name: key.replace(/\?$/, ''),
    type: nameOf(type),
    ...(key.endsWith('?') && { default: null }),
  }));
