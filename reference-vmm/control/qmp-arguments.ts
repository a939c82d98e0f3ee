/** What the arguments of a command may be, and the errors that QEMU gives for others (qapi/qobject-input-visitor.c). */
import { QmpError } from './qmp-error.js';

/** Type of one argument. */
export type ArgumentType =
  | 'string'
  | 'integer'
  | 'number'
  | 'boolean'
  /** Any JSON value. */
  | 'any'
  | { readonly enum: readonly string[] }
  | { readonly list: ArgumentType }
  | { readonly object: Shape };

/** Arguments by name; a name with `?` behind it may be left out. */
export type Shape = Readonly<Record<string, ArgumentType>>;

/** Throws `QmpError` where `given` is not of the shape, naming the argument by its path. */
export function checkArguments(given: Readonly<Record<string, unknown>>, shape: Shape, path = ''): void {
  for (const [key, type] of Object.entries(shape)) {
    const name = key.replace(/\?$/, '');
    const value = given[name];
    if (value !== undefined) checkArgument(value, type, path + name, path + name);
    else if (!key.endsWith('?')) throw new QmpError(`Parameter '${path}${name}' is missing`);
  }
  const names = new Set(Object.keys(shape).map((key) => key.replace(/\?$/, '')));
  const strange = Object.keys(given).find((name) => !names.has(name));
  if (strange !== undefined) throw new QmpError(`Parameter '${path}${strange}' is unexpected`);
}

/** `name` is the argument's own, which QEMU gives for a value that is not in an enum. */
function checkArgument(value: unknown, type: ArgumentType, path: string, name: string): void {
  if (type === 'any') return;
  const expected = expectedType(type);
  if (!isOfType(value, expected)) throw new QmpError(`Invalid parameter type for '${path}', expected: ${expected}`);
  if (typeof type === 'string') return;
  if ('enum' in type) {
    if (!type.enum.includes(value as string))
      throw new QmpError(`Parameter '${name.split('.').at(-1)!}' does not accept value '${value as string}'`);
  } else if ('list' in type)
    for (const [i, item] of (value as unknown[]).entries()) checkArgument(item, type.list, `${path}[${i}]`, name);
  else checkArguments(value as Record<string, unknown>, type.object, `${path}.`);
}

type Expected = 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'object';

const expectedType = (type: Exclude<ArgumentType, 'any'>): Expected => {
  if (typeof type === 'string') return type;
  if ('enum' in type) return 'string';
  return 'list' in type ? 'array' : 'object';
};

function isOfType(value: unknown, expected: Expected): boolean {
  if (expected === 'integer') return Number.isInteger(value);
  if (expected === 'array') return Array.isArray(value);
  if (expected === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return typeof value === expected;
}
