/** From host names to what those hosts offer, in the order given; nothing stays open. */
import { RECORDED } from '../../reports/result-log.js';
import type { NamedHost } from '../hosts/questions/named-host.js';
import { openHosts } from './hosts.js';

/** A glob gives several hosts. Throws as `openHosts` and `openCapture` do. */
export async function namedHosts(names: readonly string[]): Promise<NamedHost[]> {
  const hosts: NamedHost[] = [];
  for (const name of names) hosts.push(...(name.startsWith(RECORDED) ? [await recorded(name)] : await running(name)));
  return hosts;
}

async function recorded(given: string): Promise<NamedHost> {
  const { openCapture } = await import('../hosts/recorded/open-capture.js');
  const { name, host } = await openCapture(given.slice(RECORDED.length));
  return { id: `${RECORDED}${name}`, host };
}

async function running(name: string): Promise<NamedHost[]> {
  await using opened = await openHosts([name]);
  return opened.hosts.map(({ summary: { id }, capabilities, origin = id }) => ({ id, host: capabilities, origin }));
}
