/** What the agent of a recorded host answers: the same operations as a real one's, on a guest that a capture answers for. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { CpuidTable } from '../../../corpora/cpuid.js';
import { InputError } from '../../../corpora/errors.js';
import { parseHex32 } from '../../../corpora/hex.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { captureToJson } from '../../../corpora/host-capture.js';
import { identityFromJson, msrFromJson } from '../../../corpora/identity.js';
import type { Reason } from '../../../corpora/verdict.js';
import { writeFileWhole } from '../../../corpora/write-file.js';
import { travellingMsrs } from '../../../reference-vmm/cpu-model/msrs.js';
import type { Kvm } from '../../../reference-vmm/kvm/kvm.js';
import { recordedKvm } from '../../../reference-vmm/kvm/recorded.js';
import { unknownMsrReasons } from '../../../reference-vmm/msr-limits.js';
import { packFile, unpackFile } from '../agent/packed-file.js';
import type { Outcome, Params } from '../agent/protocol.js';
import type { Handlers } from '../agent/server.js';
import { nearSocket } from '../bridge.js';
import { RecordedGuest, type RecordedState } from './guest.js';

/** Guests under way between recorded hosts, by the socket that a real one would use: all recorded hosts are in one process. */
export type Links = Map<string, Arrival>;

interface Arrival {
  readonly take: (state: RecordedState) => readonly Reason[];
  outcome: Outcome | null;
}

/** What a source may call it: the socket itself within a host, the near end of a bridge from another. */
const endsOf = (socket: string): readonly string[] => [socket, nearSocket(socket)];

/** What a recorded kernel does wrong, for mutants. */
export interface RecordedFaults {
  /** The kernel as the monitor meets it. */
  readonly kernel?: (kvm: Kvm) => Kvm;
  /** What the guest is shown of a table that follows its state by the rules. */
  readonly shows?: ((table: CpuidTable) => CpuidTable) | null;
}

export function recordedHandlers(
  host: HostCapabilities,
  links: Links,
  { kernel = (kvm) => kvm, shows = null }: RecordedFaults = {},
): Handlers {
  const kvm = kernel(recordedKvm(host));
  let guest: RecordedGuest | null = null;
  let arrival: { readonly socket: string; readonly link: Arrival } | null = null;

  /** Makes the guest of the request in place of the one that was there. */
  const create = (request: Params<'boot'>, step: string): readonly Reason[] => {
    if (request.fault) throw new InputError('recorded-host', 'a fault can be planted in a real kernel only');
    guest = null;
    const made = RecordedGuest.create(kvm, host, request, step, shows);
    if (!(made instanceof RecordedGuest)) return made;
    guest = made;
    return [];
  };
  const running = (): RecordedGuest => {
    if (!guest) throw new InputError('no-guest', 'this agent runs no guest');
    return guest;
  };
  const settle = (reasons: readonly Reason[]): Outcome => {
    if (reasons.length === 0) return running().dump();
    guest = null;
    return { kind: 'refused', reasons: [...reasons] };
  };
  const take = (request: Params<'boot'>, state: RecordedState, step: string): readonly Reason[] => {
    const refused = create(request, step);
    if (refused.length === 0) return running().load(state, step);
    const identity = identityFromJson(request.identity);
    const carried = state.vcpus[0]!.msrs.map(({ index }) => parseHex32(index));
    return [...refused, ...unknownMsrReasons(identity, carried, travellingMsrs(identity, host.msrIndices), step)];
  };

  const save = (file: string): number => {
    mkdirSync(dirname(file), { recursive: true });
    return writeFileWhole(file, [Buffer.from(JSON.stringify(running().save(host.msrIndices)))]);
  };

  return {
    capture: () => captureToJson(host) as never,
    boot: (request) => settle(create(request, 'boot')),
    command: ({ command }) => {
      if (command === 'dump-xcr0') running().setXcr0();
      else if (command !== 'dump') running().reset();
      return running().dump();
    },
    'write-msr': (request) => {
      running().writeMsr(msrFromJson(request), request.vcpu);
      return running().dump();
    },
    save: ({ file }) => ({ bytes: save(file) }),
    'save-live': ({ file }) => {
      save(file);
      return running().dump();
    },
    restore: (request) => {
      const state = JSON.parse(readFileSync(request.file, 'utf8')) as RecordedState;
      return settle(take(request, state, 'restore'));
    },
    listen: (request) => {
      const link: Arrival = { take: (state) => take(request, state, 'destination'), outcome: null };
      for (const end of endsOf(request.socket)) links.set(end, link);
      arrival = { socket: request.socket, link };
      return {};
    },
    send: ({ socket }) => {
      const link = links.get(socket);
      if (!link) throw new InputError('not-listening', `no recorded host listens on ${socket}`);
      const reasons = link.take(running().save(host.msrIndices));
      link.outcome = reasons.length > 0 ? { kind: 'refused', reasons: [...reasons] } : null;
      if (link.outcome) return link.outcome;
      guest = null;
      return { kind: 'sent' };
    },
    received: () => {
      if (!arrival) throw new InputError('not-listening', 'this agent listens for no migration');
      const { socket, link } = arrival;
      for (const end of endsOf(socket)) links.delete(end);
      arrival = null;
      return link.outcome ?? running().dump();
    },
    fetch: ({ file }) => ({ gzip: packFile(file) }),
    put: ({ file, gzip }) => {
      unpackFile(file, gzip);
      return {};
    },
    remove: ({ file }) => {
      rmSync(file, { force: true });
      return {};
    },
    close: () => {
      guest = null;
      return {};
    },
  };
}
