/** The parts of a machine's state that are not of its vCPUs: memory and devices. */
import { InputError } from '../../corpora/errors.js';
import type { PortDevice } from '../devices/device.js';
import { type DeviceStates, PAGE_BYTES, type Page } from './machine-state.js';

/** Copies of the pages that are not all zero. */
export function pagesOf(memory: Uint8Array): Page[] {
  const words = new BigUint64Array(memory.buffer, memory.byteOffset, memory.length / 8);
  const perPage = PAGE_BYTES / 8;
  const pages: Page[] = [];
  for (let page = 0; page * PAGE_BYTES < memory.length; page++)
    if (words.subarray(page * perPage, (page + 1) * perPage).some((word) => word !== 0n))
      pages.push({ gpa: page * PAGE_BYTES, bytes: memory.slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES) });
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
