/** SMP shapes: QEMU's `-smp` and the short form `8c4t2` that contracts are filed under. */
import { InputError } from './errors.js';
import type { SmpShape } from './identity.js';

const KEYS = ['cpus', 'maxcpus', 'sockets', 'dies', 'modules', 'cores', 'threads'] as const;
type Key = (typeof KEYS)[number];
/** Levels that x86 machines do not have: QEMU takes them where they are 1, and libvirt writes them. */
const ABSENT = new Set(['drawers', 'books', 'clusters']);

/** One socket of single-threaded cores is the smallest shape. */
export const ONE_CPU: SmpShape = { cpus: 1, maxcpus: 1, sockets: 1, dies: 1, modules: 1, cores: 1, threads: 1 };

const SHORT = /^(\d+)(?:s(\d+))?(?:d(\d+))?(?:m(\d+))?(?:c(\d+))?(?:t(\d+))?$/;

/**
 * Reads `1`, `8c4t2` (8 CPUs, 4 cores of 2 threads), `8,sockets=1,cores=4,threads=2` or `cpus=8,maxcpus=16,...`. What is
 * missing is filled in as QEMU does (hw/core/machine-smp.c, machine_parse_smp_config): sockets take what cores and threads
 * leave (`coresFirst`: cores do; machine types before 6.2 prefer sockets). Throws `InputError` on an impossible topology.
 */
export function parseSmp(text: string, coresFirst = false): SmpShape {
  const given = SHORT.test(text) ? shortForm(text) : longForm(text);
  return complete(given, text, coresFirst);
}

/** The short form: fields that are 1 (and sockets, where they follow from the rest) are left out. */
export function formatSmp(smp: SmpShape): string {
  const perSocket = smp.dies * smp.modules * smp.cores * smp.threads;
  const short = smp.maxcpus === smp.cpus && smp.sockets * perSocket === smp.cpus;
  if (!short) return KEYS.map((key) => `${key}=${smp[key]}`).join(',');
  const part = (letter: string, count: number): string => (count === 1 ? '' : `${letter}${count}`);
  const rest = part('d', smp.dies) + part('m', smp.modules) + part('c', smp.cores) + part('t', smp.threads);
  return `${smp.cpus}${part('s', smp.sockets)}${rest}`;
}

function shortForm(text: string): Partial<Record<Key, number>> {
  const [, cpus, sockets, dies, modules, cores, threads] = SHORT.exec(text)!;
  const numbers = { cpus, sockets, dies, modules, cores, threads };
  const given = Object.entries(numbers).filter(([, value]) => value !== undefined);
  // `8c4t2` is a full description: letters that are absent count 1, but for sockets.
  const named = given.length > 1 ? { dies: 1, modules: 1, cores: 1, threads: 1 } : {};
  return { ...named, ...Object.fromEntries(given.map(([key, value]) => [key, positive(key, value!, text)])) };
}

function longForm(text: string): Partial<Record<Key, number>> {
  const given: Partial<Record<Key, number>> = {};
  for (const [i, element] of text.split(',').entries()) {
    const [, key = '', value = ''] = /^(?:([a-z]+)=)?(\d+)$/.exec(element) ?? [];
    if (ABSENT.has(key) && value === '1') continue;
    const name = key || (i === 0 ? 'cpus' : '');
    if (!KEYS.includes(name as Key)) throw badSmp(text, `'${element}' is none of ${KEYS.join('=, ')}=`);
    given[name as Key] = positive(name, value, text);
  }
  return given;
}

function positive(key: string, value: string, text: string): number {
  const count = Number(value);
  if (count < 1 || count > 4096) throw badSmp(text, `${key} must be 1 to 4096`);
  return count;
}

function complete(given: Partial<Record<Key, number>>, text: string, coresFirst: boolean): SmpShape {
  const { dies = 1, modules = 1 } = given;
  let { cpus, maxcpus, sockets, cores, threads } = given;
  const total = maxcpus ?? cpus;
  const left = (count: number, known: number): number => Math.max(1, Math.floor(count / known));
  if (total === undefined) {
    sockets ??= 1;
    cores ??= 1;
    threads ??= 1;
  } else if (coresFirst) {
    if (cores === undefined) {
      sockets ??= 1;
      threads ??= 1;
      cores = left(total, sockets * dies * modules * threads);
    } else if (sockets === undefined) {
      threads ??= 1;
      sockets = left(total, dies * modules * cores * threads);
    }
  } else if (sockets === undefined) {
    cores ??= 1;
    threads ??= 1;
    sockets = left(total, dies * modules * cores * threads);
  } else if (cores === undefined) {
    threads ??= 1;
    cores = left(total, sockets * dies * modules * threads);
  }
  threads ??= left(total ?? 1, sockets! * dies * modules * cores!);
  maxcpus ??= cpus ?? sockets! * dies * modules * cores! * threads;
  cpus ??= maxcpus;
  const shape = { cpus, maxcpus, sockets: sockets!, dies, modules, cores: cores!, threads };
  const slots = shape.sockets * dies * modules * shape.cores * threads;
  if (slots !== maxcpus) {
    throw badSmp(text, `sockets x dies x modules x cores x threads is ${slots}, not maxcpus ${maxcpus}`);
  }
  if (cpus > maxcpus) throw badSmp(text, `cpus ${cpus} is more than maxcpus ${maxcpus}`);
  return shape;
}

const badSmp = (text: string, why: string): InputError =>
  new InputError('bad-smp', `-smp '${text}' is not possible: ${why}`, { given: text });
