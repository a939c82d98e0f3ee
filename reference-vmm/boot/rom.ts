/** The last page below 4 GiB: where a boot processor goes that receives INIT. It asks the monitor for a reset. */

/** A port of our own, so that the monitor can tell INIT from other resets. */
export const ROM_RESET_PORT = 0xf8;

export const ROM_BASE = 0xffff_f000;
export const ROM_BYTES = 4096;
/** SDM vol. 3A, 9.1.4: execution begins at FFFFFFF0. */
const RESET_VECTOR = 0xff0;

/** out %al, $ROM_RESET_PORT; 1: hlt; jmp 1b */
const CODE = Uint8Array.of(0xe6, ROM_RESET_PORT, 0xf4, 0xeb, 0xfd);

export function fillRom(rom: Uint8Array): void {
  rom.set(CODE, RESET_VECTOR);
}
