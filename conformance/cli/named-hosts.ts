/** From host names to what those hosts offer, in the order given; nothing stays open. */
import type { NamedHost } from '../hosts/questions/named-host.js';
import { openHosts } from './hosts.js';

/** A glob gives several hosts. Throws as `openHosts` and `openCapture` do. */
export async function namedHosts(names: readonly string[]): Promise<NamedHost[]> {
  const hosts: NamedHost[] = [];
  for (const name of names)
    hosts.push(...(name.startsWith('recorded:') ? [await recorded(name)] : await running(name)));
  return hosts;
}

async function recorded(id: string): Promise<NamedHost> {
  const { openCapture } = await import('../hosts/recorded/open-capture.js');
  return { id, host: (await openCapture(id.slice('recorded:'.length))).host };
}

async function running(name: string): Promise<NamedHost[]> {
  await using opened = await openHosts([name]);
  return opened.hosts.map(({ summary, capabilities }) => ({ id: summary.id, host: capabilities }));
}
