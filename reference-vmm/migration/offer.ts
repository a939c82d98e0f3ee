/** The offer with which a migration begins: what the destination must be able to be, before the source stops its guest. */
import { checkedFields, checkedList, checkedNumber, checkedText } from '../../corpora/checked.js';
import { hex32 } from '../../corpora/hex.js';
import { type CpuIdentity, checkedIdentity, identityToJson } from '../../corpora/identity.js';
import { msrLabel } from '../../corpora/msrs.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { isOpen } from '../cpu-model/msrs.js';
import { unknownMsrReasons } from '../msr-limits.js';
import type { Section } from '../snapshot/container.js';
import { decodeJson, encodeJson } from './messages.js';

/** What of a machine must fit, beside its CPU identity, for its state to travel. */
export interface TravelFacts {
  readonly memoryBytes: number;
  /** MSRs that its state carries. */
  readonly msrs: readonly number[];
  /** Length of each vCPU's XSAVE state, which this kernel's components make. Their layout is leaf 0xD of the identity. */
  readonly xsaveBytes: number;
  readonly tscKhz: number;
  /** Names of its devices. */
  readonly devices: readonly string[];
}

export interface Offer extends TravelFacts {
  readonly identity: CpuIdentity;
}

export const encodeOffer = ({ identity, ...facts }: Offer): Buffer =>
  encodeJson({ identity: identityToJson(identity), ...facts });

const UINT32 = 0xffff_ffff;

/** Throws `ContainerError`. */
export const decodeOffer = (section: Section, what: string): Offer =>
  decodeJson(section, what, (value) => {
    const fields = checkedFields(value, 'offer');
    const number = (name: string, most = UINT32): number => checkedNumber(fields[name], most, name);
    return {
      identity: checkedIdentity(fields.identity),
      memoryBytes: number('memoryBytes', Number.MAX_SAFE_INTEGER),
      msrs: checkedList(fields.msrs, 65_536, 'msrs').map((index) => checkedNumber(index, UINT32, 'msr')),
      xsaveBytes: number('xsaveBytes'),
      tscKhz: number('tscKhz'),
      devices: checkedList(fields.devices, 256, 'devices').map((name) => checkedText(name, 256, 'device')),
    };
  });

/** Why the state of the machine that is offered would not fit the one that was made for it. */
export function offerReasons(offered: Offer, own: TravelFacts): Reason[] {
  const differs = (facts: Pick<Reason, 'code' | 'layer'>, what: string, theirs: unknown, ours: unknown): Reason[] => {
    const [contract, guest] = [String(theirs), String(ours)];
    const message = `${what}: offered ${contract}, here ${guest}`;
    return contract === guest ? [] : [reason({ ...facts, step: 'destination', contract, guest, message })];
  };
  return [
    ...differs({ code: 'other-memory', layer: 'monitor' }, 'memory in bytes', offered.memoryBytes, own.memoryBytes),
    ...differs({ code: 'other-devices', layer: 'monitor' }, 'devices', offered.devices, own.devices),
    ...differs({ code: 'xsave-size', layer: 'kernel' }, 'XSAVE state in bytes', offered.xsaveBytes, own.xsaveBytes),
    ...msrReasons(offered, own),
  ];
}

/** An MSR that only one side carries would be lost, or stay as it is. An open pair takes what comes: what it cannot take shows later. */
function msrReasons({ identity, msrs }: Offer, own: TravelFacts): Reason[] {
  const theirs = new Set(msrs);
  return [
    ...unknownMsrReasons(identity, msrs, own.msrs, 'destination'),
    ...(isOpen(identity) ? [] : own.msrs)
      .filter((index) => !theirs.has(index))
      .map((index) =>
        reason({
          ...{ code: 'msr-missing', step: 'destination', layer: 'kernel', msr: hex32(index) },
          message: `${msrLabel(index)}: this CPU has it and the state does not carry it`,
        }),
      ),
  ];
}
