/** PVH (Xen docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h): the entry of an ELF note, and hvm_start_info. */
import { readElf } from './elf.js';
import type { MultibootOptions } from './multiboot.js';
import { InfoBlock, memoryMap, place, requireMemory } from './place.js';
import { type BootPlan, ImageError } from './plan.js';
import { ROM_BASE, ROM_BYTES } from './rom.js';

const START_INFO_MAGIC = 0x336e_c578;
const START_INFO_BYTES = 56;

/** Plans the boot of an ELF image with a PVH note. Throws `ImageError`. */
export function planPvh(name: string, bytes: Uint8Array, options: MultibootOptions): BootPlan {
  const { modules, append, memoryBytes } = options;
  const elf = readElf(name, bytes);
  if (elf.pvhEntry === null) throw new ImageError(name, 'ELF file without a multiboot header and without a PVH note');
  const placement = place(name, elf.loads, modules, memoryBytes);
  const info = new InfoBlock(placement.free + START_INFO_BYTES);
  const commandLine = info.text(append);
  const list = placement.modules.map(({ start, end, text }) => [start, 0, end - start, 0, info.text(text), 0, 0, 0]);
  const moduleList = info.words(...list.flat());
  const map = memoryMap(memoryBytes, { base: ROM_BASE, bytes: ROM_BYTES });
  const mapAt = info.words(...map.flatMap(({ address, bytes: length, type }) => [address, 0, length, 0, type, 0]));
  const head = Uint32Array.of(
    ...[START_INFO_MAGIC, 1, 0, modules.length, moduleList, 0, commandLine, 0],
    // No RSDP.
    ...[0, 0, mapAt, 0, map.length, 0],
  );
  const tail = info.load();
  requireMemory(tail.address + tail.size, memoryBytes);
  return {
    protocol: 'pvh',
    loads: [
      ...placement.loads,
      { address: placement.free, bytes: new Uint8Array(head.buffer), size: START_INFO_BYTES },
      tail,
    ],
    entry: { eip: elf.pvhEntry, eax: 0, ebx: placement.free },
  };
}
