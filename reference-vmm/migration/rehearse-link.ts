/** The rehearsal of a link: a state goes to ourselves by every message of a migration, before one does in earnest. */
import { Duplex, PassThrough } from 'node:stream';
import { MEMORY_LIMIT } from '../snapshot/file.js';
import { coreSections, type MachineCore, PAGE_BYTES, readCore } from '../snapshot/machine-state.js';
import { Link } from './link.js';
import { encodeJson, MESSAGE } from './messages.js';
import { decodeOffer, encodeOffer, offerReasons, type TravelFacts } from './offer.js';
import { PageBatch, receivePages, SentMemory } from './pages.js';

const NAME = 'rehearsal';
const DEADLINE_MS = 5000;
const PAGES = 4;

/** True where it came to its end. Nothing of it is kept either way: a migration in earnest says what is wrong. */
export async function rehearseLink(core: MachineCore, facts: TravelFacts): Promise<boolean> {
  const [there, back] = [new PassThrough(), new PassThrough()];
  const source = new Link(Duplex.from({ readable: back, writable: there }), NAME, 'source');
  const destination = new Link(Duplex.from({ readable: there, writable: back }), NAME, 'destination');
  const played = await Promise.all([send(source, core, facts), receive(destination, core, facts)]).then(
    () => true,
    () => false,
  );
  for (const link of [source, destination]) link.close();
  return played;
}

async function send(link: Link, core: MachineCore, facts: TravelFacts): Promise<void> {
  const put = (type: number, payload: Uint8Array): Promise<void> => link.send(type, payload, DEADLINE_MS);
  await put(MESSAGE.offer, encodeOffer({ identity: core.identity, ...facts }));
  await link.receive([MESSAGE.accepted], DEADLINE_MS);
  const [batch, sent] = [new PageBatch(), new SentMemory()];
  // The first is of zeros, which travel without their bytes.
  const memory = Buffer.from(Array.from({ length: PAGES * PAGE_BYTES }, (_, i) => Math.floor(i / PAGE_BYTES)));
  for (let page = 0; page < PAGES; page++) sent.add(batch, memory, page);
  const sections = coreSections(core);
  await Promise.all([put(MESSAGE.pages, batch.take()), ...sections.map(({ type, payload }) => put(type, payload))]);
  await link.receive([MESSAGE.loaded], DEADLINE_MS);
}

async function receive(link: Link, core: MachineCore, facts: TravelFacts): Promise<void> {
  const next = (type: number) => link.receive([type], DEADLINE_MS);
  const offer = decodeOffer(await next(MESSAGE.offer), NAME);
  await link.send(MESSAGE.accepted, encodeJson(offerReasons(offer, facts)), DEADLINE_MS);
  receivePages((await next(MESSAGE.pages)).payload as Buffer, Buffer.alloc(PAGES * PAGE_BYTES), NAME);
  const sections = [await next(MESSAGE.machine)];
  for (const _ of core.vcpus) sections.push(await next(MESSAGE.vcpu));
  readCore(offer.identity, sections, NAME, MEMORY_LIMIT);
  await link.send(MESSAGE.loaded, encodeJson([]), DEADLINE_MS);
}
