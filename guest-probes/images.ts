/** The built images of the probes, as committed beside their sources. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Names of the probes: one folder each. */
export const PROBES = ['cpu-state', 'witness'] as const;
export type Probe = (typeof PROBES)[number];

/** The folder of a probe's sources and image. The compiled files stand two levels below the package root. */
export const probeFolder = (probe: Probe): string =>
  fileURLToPath(new URL(`../../guest-probes/${probe}`, import.meta.url));

/** Path of the image, for a subject that loads it itself (QEMU's `-kernel`). */
export const probeImagePath = (probe: Probe): string => `${probeFolder(probe)}/probe.elf`;

/** The image: an ELF32 for multiboot 1 and PVH. */
export const probeImage = (probe: Probe): Uint8Array => readFileSync(probeImagePath(probe));
