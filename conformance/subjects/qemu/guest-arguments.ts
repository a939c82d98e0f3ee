/** The command line that boots the cpu-state probe under a QEMU: bare machine, probe port, nothing that could show in the CPU. */
import type { SmpShape } from '../../../corpora/identity.js';
import { PORT } from '../../../corpora/probe-abi.js';
import { probeImagePath } from '../../../guest-probes/images.js';
import type { Accelerator } from '../../../reference-vmm/cpu-model/properties.js';

/** A guest as QEMU is to make it. */
export interface QemuGuestSpec {
  /** A machine type that this QEMU has. */
  readonly machine: string;
  /** As in `-cpu`, everything that is wanted in it (`x-force-features=on`, `vendor=`). */
  readonly cpu: string;
  readonly smp: SmpShape;
  readonly accel: Accelerator;
  /** MiB; default: room for firmware, probe and request, little to save and to send. */
  readonly memory?: number;
  /** A firmware of QEMU's own in place of the machine type's: `qboot.rom` boots in a third of the time. */
  readonly firmware?: string;
  /** TCG runs all vCPUs on one thread. */
  readonly oneThread?: boolean;
}

/** Boots multiboot and PVH images without what a PC's BIOS does before (QEMU pc-bios/qboot.rom). */
export const QBOOT = 'qboot.rom';

const GUEST_MEMORY = 16;

/** `-smp` as every release since 5.2 takes it: dies and modules only where there are several. */
export function smpArgument({ cpus, maxcpus, sockets, dies, modules, cores, threads }: SmpShape): string {
  const rare = [
    ['dies', dies],
    ['modules', modules],
  ] as const;
  return [
    `${cpus},maxcpus=${maxcpus},sockets=${sockets}`,
    ...rare.filter(([, count]) => count > 1).map(([key, count]) => `${key}=${count}`),
    `cores=${cores},threads=${threads}`,
  ].join(',');
}

/** Arguments up to the character device `probe`, which the caller adds: where records go. `request`: the probe's, a file. */
export const guestArguments = (
  { machine, cpu, smp, accel, firmware, oneThread, memory = GUEST_MEMORY }: QemuGuestSpec,
  request: string,
): string[] => [
  ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-shutdown'],
  ...['-accel', oneThread && accel === 'tcg' ? 'tcg,thread=single' : accel],
  ...['-machine', machine, '-cpu', cpu, '-smp', smpArgument(smp), '-m', `${memory}`],
  ...(firmware ? ['-bios', firmware] : []),
  ...['-kernel', probeImagePath('cpu-state'), '-initrd', request],
  ...['-device', `isa-debugcon,iobase=${PORT.probe},chardev=probe`],
];
