/** What a machine tells its owner, and what of an exit of a vCPU comes to that. */
import type { Crash } from './crash.js';
import type { DeviceEvent } from './devices/device.js';

export type MachineEvent =
  | Exclude<DeviceEvent, { readonly kind: 'reset' }>
  /** The guest asks for a reset; `machine.reset()` does it. */
  | {
      readonly kind: 'reset';
      readonly by: 'reset-control' | 'keyboard' | 'fast-reset' | 'init' | 'triple-fault';
      /** Of a triple fault: where the guest was. */
      readonly crash?: Crash;
    }
  /** HLT without a local APIC to wake it. */
  | { readonly kind: 'halted' }
  | { readonly kind: 'crashed'; readonly crash: Crash }
  /** The time was over; `crash` says where the guest was. */
  | { readonly kind: 'timed-out'; readonly crash: Crash }
  /** A signal came: let the event loop turn, then run again. */
  | { readonly kind: 'interrupted' };
