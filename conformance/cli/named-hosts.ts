/** From host names to what those hosts offer, in the order given; nothing stays open. */
import { InputError } from '../../corpora/errors.js';
import { RECORDED } from '../../reports/result-log.js';
import type { NamedHost } from '../hosts/questions/named-host.js';
import { openHosts } from './hosts.js';
import { globMatcher, isGlob } from './options.js';

/** A glob gives several hosts. Throws as `openHosts` and `openCapture` do. */
export async function namedHosts(names: readonly string[]): Promise<NamedHost[]> {
  const hosts: NamedHost[] = [];
  for (const name of names) hosts.push(...(name.startsWith(RECORDED) ? await recorded(name) : await running(name)));
  return hosts;
}

/** The one host of a question. Throws `InputError` `many-hosts` where a glob gives several. */
export async function oneHost(name: string): Promise<NamedHost> {
  const [host, ...others] = await namedHosts([name]);
  if (others.length > 0)
    throw new InputError('many-hosts', `one host is asked here, '${name}' names ${others.length + 1}`, { given: name });
  return host!;
}

/** A file, a capture of the package, or by a glob such as `recorded:EPYC*` all of the package that it fits. */
async function recorded(given: string): Promise<NamedHost[]> {
  const { committedCaptures, openCapture } = await import('../hosts/recorded/open-capture.js');
  const wanted = given.slice(RECORDED.length);
  const fitting = isGlob(wanted) ? committedCaptures().filter(globMatcher(wanted)) : [];
  const captures = await Promise.all((fitting.length ? fitting : [wanted]).map(openCapture));
  return captures.map(({ name, host }) => ({ id: `${RECORDED}${name}`, host }));
}

async function running(name: string): Promise<NamedHost[]> {
  await using opened = await openHosts([name]);
  return opened.hosts.map(({ summary: { id }, capabilities, origin = id }) => ({ id, host: capabilities, origin }));
}
