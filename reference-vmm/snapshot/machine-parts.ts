/** The parts of a machine's state that are not of its vCPUs: memory and devices. */
import { InputError } from '../../corpora/errors.js';
import type { PortDevice } from '../devices/device.js';
import { isZeroPage } from './image.js';
import { type DeviceStates, PAGE_BYTES, type Page } from './machine-state.js';

/** Copies of the pages that are not all zero. */
export function pagesOf(memory: Uint8Array): Page[] {
  const ram = Buffer.from(memory.buffer, memory.byteOffset, memory.length);
  const pages: Page[] = [];
  for (let at = 0; at < ram.length; at += PAGE_BYTES)
    if (!isZeroPage(ram, at)) pages.push({ gpa: at, bytes: memory.slice(at, at + PAGE_BYTES) });
  return pages;
}

export const saveDevices = (devices: readonly PortDevice[]): DeviceStates =>
  Object.fromEntries(devices.map((device) => [device.name, device.save()]));

/** Throws `InputError` `other-machine` where a device is missing or its state is malformed. */
export function loadDevices(devices: readonly PortDevice[], states: DeviceStates): void {
  for (const device of devices) {
    if (!(device.name in states)) throw new InputError('other-machine', `the state has no device '${device.name}'`);
    try {
      device.load(states[device.name]);
    } catch (error) {
      const why = (error as Error).message;
      throw new InputError('other-machine', `the state of device '${device.name}' is malformed: ${why}`);
    }
  }
}
