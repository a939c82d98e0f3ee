/** What is timed: one pair on a KVM that is open, from VM creation to a decoded observation; the path that agents take. */
import { hex32 } from '../../corpora/hex.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import { decodeRecord } from '../../guest-probes/observation.js';
import type { Kvm } from '../../reference-vmm/kvm/kvm.js';
import { createGuest } from '../hosts/agent/guest.js';

/** Times in microseconds, both from before KVM_CREATE_VM. */
export interface Round {
  /** Until the record's checksum held and it was decoded. */
  readonly observed: number;
  /** Until everything was closed. */
  readonly closed: number;
}

const TIMEOUT_MS = 10_000;

/** Boots once. Throws `MachineError` on a bad record, `Error` where the guest does anything but dump. */
export function bootRound(kvm: Kvm, identity: CpuIdentity, msrs: readonly number[]): Round & { seen: VcpuObservation } {
  const request = { allowAltered: true, forceFeatures: true, msrs: msrs.map(hex32) };
  const start = performance.now();
  const created = createGuest(kvm, identity, request, 'boot');
  if (created.kind === 'refused') throw new Error(created.reasons[0]!.message);
  created.machine.start();
  const event = created.machine.run({ timeoutMs: TIMEOUT_MS });
  if (event.kind !== 'record') throw new Error(`the guest did not dump: ${event.kind}`);
  const { observation } = decodeRecord(event.bytes);
  const observed = performance.now();
  created.machine[Symbol.dispose]();
  const closed = performance.now();
  return { observed: (observed - start) * 1000, closed: (closed - start) * 1000, seen: observation };
}
