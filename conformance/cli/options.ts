/** Options that several commands share, and how their values are read. */
import { type Command, Option } from 'commander';
import { InputError } from '../../corpora/errors.js';

/** A repeatable option's values. */
export const collect = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** `--json`, `--corpora`, `-v`: on every command. */
export const withCommon = (command: Command): Command =>
  command
    .option('--json', 'one JSON document on stdout')
    .option(
      '--corpora <dir>',
      'definitions and contracts beside or over the built-in ones (repeatable, later wins)',
      collect,
    )
    .option('-v, --verbose', 'say more');

/** `--machine`, `--cpu`, `--pair`, `--smp`. */
export const withPairs = (command: Command): Command =>
  command
    .option('--machine <name>', 'machine type, globs allowed (repeatable)', collect)
    .option('--cpu <model>', 'CPU model with properties, as in -cpu; globs on the name (repeatable)', collect)
    .option('--pair <pair>', 'pair such as pc-i440fx-2.3/Nehalem,+aes (repeatable)', collect)
    .option('--smp <shape>', 'SMP shape: 1, 8c4t2, or cpus=,sockets=,... (repeatable)', collect);

/** `--host`, `--allow-altered`, `--force-features`. */
export const withHost = (command: Command): Command =>
  command
    .option('--host <host>', 'host to run on (repeatable; default local)', collect)
    .option('--allow-altered', 'run although the kernel alters CPUID; never identical')
    .option('--force-features', 'expose features that the host does not offer; counted apart');

export const formatOption = (formats: readonly string[]): Option =>
  new Option('--format <format>', 'report format').choices(formats).default('text');

/** A whole number of at least `least`. Throws `InputError` `bad-number`. */
export function wholeNumber(option: string, least = 0): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || number < least)
      throw new InputError('bad-number', `${option} takes a whole number of at least ${least}, not '${value}'`, {
        given: value,
      });
    return number;
  };
}

/** `*` and `?` in names, everything else literal; the whole name must match. */
export function globMatcher(glob: string): (name: string) => boolean {
  const pattern = glob
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  const regex = new RegExp(`^${pattern}$`);
  return (name) => regex.test(name);
}

/** True of a name that one of the globs matches. */
export function anyGlob(globs: readonly string[]): (name: string) => boolean {
  const matchers = globs.map(globMatcher);
  return (name) => matchers.some((matches) => matches(name));
}

export const isGlob = (text: string): boolean => /[*?]/.test(text);

/** `--subject`, repeatable. */
export const subjectOption = (): Option =>
  new Option(
    '--subject <name>',
    'hypervisor under test: reference-vmm, qemu-5.2, -7.2, -10.0, -11.1, qemu:BINARY, each QEMU with ,accel=tcg or kvm (repeatable: migrations go between them too)',
  ).argParser(collect);
