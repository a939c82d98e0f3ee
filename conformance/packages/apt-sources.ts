/** The machine's own apt sources: read, and turned into sources of another Debian suite at the same mirror and keys. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MachineError } from '../../corpora/errors.js';

/** One repository that the machine's apt uses. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  /** As in deb822 `Signed-By`: paths, fingerprints or an inline key; null = the machine's trusted keys. */
  readonly signedBy: string | null;
}

const CODENAMES = ['buster', 'bullseye', 'bookworm', 'trixie', 'forky', 'duke', 'sid'];
const CLASSES = ['oldoldstable', 'oldstable', 'stable', 'testing', 'unstable'];
const SUITE = new RegExp(
  `^(${[...CODENAMES, ...CLASSES].join('|')})(-updates|-backports|-security|-proposed-updates)?$`,
);

/** True for the name of a Debian suite, such as `trixie-backports`. */
export const isDebianSuite = (name: string): boolean => SUITE.test(name);

/** Reads every enabled binary source below an apt configuration folder (`/etc/apt`). Unreadable files are skipped. */
export async function machineSources(folder = '/etc/apt'): Promise<AptSource[]> {
  const parts = await readdir(join(folder, 'sources.list.d')).catch(() => []);
  const files = ['sources.list', ...parts.sort((a, b) => (a < b ? -1 : 1)).map((name) => join('sources.list.d', name))];
  const sources: AptSource[] = [];
  for (const file of files) {
    const text = await readFile(join(folder, file), 'utf8').catch(() => '');
    if (file.endsWith('.sources')) sources.push(...parseDeb822(text));
    else if (file.endsWith('.list')) sources.push(...parseOneLine(text));
  }
  return sources;
}

/** Parses the one-line format of sources.list(5). */
export function parseOneLine(text: string): AptSource[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*deb\s+(?:\[(?<options>[^\]]*)\]\s+)?(?<uri>\S+)\s+(?<suite>\S+)/.exec(line);
    if (!match) return [];
    const { options = '', uri, suite } = match.groups as { options?: string; uri: string; suite: string };
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1]?.replaceAll(',', ' ') ?? null;
    return [{ uri, suite, signedBy }];
  });
}

/** Parses the deb822 format of sources.list(5). */
export function parseDeb822(text: string): AptSource[] {
  return parseStanzas(text).flatMap((stanza) => {
    const words = (key: string): string[] => (stanza.get(key) ?? '').split(/\s+/).filter(Boolean);
    if (!words('types').includes('deb') || /^(no|false|0|off)$/i.test(stanza.get('enabled') ?? '')) return [];
    const signedBy = stanza.get('signed-by') ?? null;
    return words('uris').flatMap((uri) => words('suites').map((suite) => ({ uri, suite, signedBy })));
  });
}

/** Stanzas of an RFC 822 style file: lower-case key to value; continuation lines keep their line ends; comments go. */
export function parseStanzas(text: string): Map<string, string>[] {
  const stanzas: Map<string, string>[] = [];
  let current: Map<string, string> | null = null;
  let key = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    if (line.trim() === '') {
      current = null;
      continue;
    }
    if (!current) {
      current = new Map();
      stanzas.push(current);
    }
    if (/^[ \t]/.test(line)) {
      current.set(key, `${current.get(key) ?? ''}\n${line}`);
      continue;
    }
    const colon = line.indexOf(':');
    key = line.slice(0, colon).toLowerCase();
    current.set(key, line.slice(colon + 1).trim());
  }
  return stanzas;
}

/**
 * The source of a Debian suite: the machine's own mirror and keys with only the suite changed. Throws `MachineError` `no-debian-source` on a
 * machine that has none (another distribution).
 */
export function sourceOf(suite: string, machine: readonly AptSource[]): AptSource {
  const debian = machine.filter((source) => isDebianSuite(source.suite) && !source.suite.endsWith('-proposed-updates'));
  const security = suite.endsWith('-security');
  const same = debian.find((source) => source.suite.endsWith('-security') === security);
  if (same) return { ...same, suite };
  const [other] = debian;
  if (!other)
    throw new MachineError(
      'no-debian-source',
      `no Debian suite in this machine's apt sources, so '${suite}' cannot be fetched: add one, with the keyring of debian-archive-keyring`,
      { given: suite },
    );
  const uri = other.uri.replace(/\/debian(-security)?\/?$/, security ? '/debian-security' : '/debian');
  return { uri, suite, signedBy: other.signedBy };
}

/** Writes a source in deb822 form; nothing of it can switch the signature check off. */
export const formatSource = (source: AptSource): string =>
  [
    'Types: deb',
    `URIs: ${source.uri}`,
    `Suites: ${source.suite}`,
    'Components: main',
    'Architectures: amd64',
    ...(source.signedBy === null ? [] : [`Signed-By: ${source.signedBy}`]),
    '',
  ].join('\n');
