/** Multiboot 1 (GNU Multiboot Specification 0.6.96): images in ELF or with addresses in the header, and the information structure. */
import { isElf, readElf } from './elf.js';
import { HIGH_BASE, InfoBlock, LOW_BYTES, memoryMap, place, requireMemory } from './place.js';
import { type BootModule, type BootPlan, ImageError, type Load } from './plan.js';
import { ROM_BASE, ROM_BYTES } from './rom.js';

const HEADER_MAGIC = 0x1bad_b002;
/** In EAX at entry. */
const LOADER_MAGIC = 0x2bad_b002;
/** The header lies within so many bytes, 4-aligned (3.1). */
const SEARCH_BYTES = 8192;
/** Header flags 0 to 15 that a loader must understand: pages aligned, memory map wanted. We give both always. */
const UNDERSTOOD = 0x3;
const ADDRESSES_IN_HEADER = 1 << 16;

/** Information flags: memory sizes, command line, modules, memory map, loader's name (3.3). */
const INFO_FLAGS = (1 << 0) | (1 << 2) | (1 << 3) | (1 << 6) | (1 << 9);
const INFO_BYTES = 88;

/** Where the multiboot header stands in the file, or null. */
export function findMultibootHeader(bytes: Uint8Array): number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, SEARCH_BYTES) & ~3);
  for (let at = 0; at + 12 <= view.byteLength; at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const sum = HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true);
    if (sum % 2 ** 32 === 0) return at;
  }
  return null;
}

export interface MultibootOptions {
  readonly modules: readonly BootModule[];
  readonly append: string;
  readonly memoryBytes: number;
}

/** Plans the boot of an image whose header stands at `header`. Throws `ImageError`. */
export function planMultiboot(name: string, bytes: Uint8Array, header: number, options: MultibootOptions): BootPlan {
  const { modules, append, memoryBytes } = options;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const flags = view.getUint32(header + 4, true);
  if (flags & 0xffff & ~UNDERSTOOD)
    throw new ImageError(name, `multiboot header asks for what no loader here gives: flags 0x${flags.toString(16)}`);
  const { loads, entry } =
    flags & ADDRESSES_IN_HEADER ? loadsOfHeader(name, bytes, view, header) : loadsOfElf(name, bytes);
  const placement = place(name, loads, modules, memoryBytes);
  const info = new InfoBlock(placement.free + Math.ceil(INFO_BYTES / 8) * 8);
  // As QEMU writes it, also where nothing is appended (hw/i386/multiboot.c).
  const commandLine = info.text(`${name} ${append}`);
  const list = placement.modules.map(({ start, end, text }) => [start, end, info.text(text), 0]);
  const moduleList = info.words(...list.flat());
  const map = memoryMap(memoryBytes, { base: ROM_BASE, bytes: ROM_BYTES });
  // size (of what follows it), base, length, type
  const mapWords = map.flatMap(({ address, bytes: length, type }) => [20, address, 0, length, 0, type]);
  const mapAt = info.words(...mapWords);
  const loader = info.text('guest-abi');
  const head = new Uint32Array(INFO_BYTES / 4);
  head.set([
    INFO_FLAGS,
    LOW_BYTES / 1024,
    (memoryBytes - HIGH_BASE) / 1024,
    0,
    commandLine,
    modules.length,
    moduleList,
  ]);
  head.set([mapWords.length * 4, mapAt], 11);
  head[16] = loader;
  const tail = info.load();
  requireMemory(tail.address + tail.size, memoryBytes);
  return {
    protocol: 'multiboot',
    loads: [
      ...placement.loads,
      { address: placement.free, bytes: new Uint8Array(head.buffer), size: INFO_BYTES },
      tail,
    ],
    entry: { eip: entry, eax: LOADER_MAGIC, ebx: placement.free },
  };
}

interface Loaded {
  readonly loads: readonly Load[];
  readonly entry: number;
}

function loadsOfElf(name: string, bytes: Uint8Array): Loaded {
  if (!isElf(bytes)) throw new ImageError(name, 'multiboot header without addresses in a file that is not ELF');
  const elf = readElf(name, bytes);
  if (elf.bits !== 32) throw new ImageError(name, 'multiboot wants a 32-bit ELF file, this is 64-bit');
  return elf;
}

/** The "a.out kludge" (3.1.3): header, load, load end, BSS end and entry addresses stand in the header. */
function loadsOfHeader(name: string, bytes: Uint8Array, view: DataView, header: number): Loaded {
  if (header + 32 > bytes.length) throw new ImageError(name, 'multiboot header cut short');
  const [headerAt, start, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((at) =>
    view.getUint32(header + at, true),
  ) as [number, number, number, number, number];
  if (start > headerAt) throw new ImageError(name, 'multiboot header lies before what it loads');
  const offset = header - (headerAt - start);
  if (offset < 0) throw new ImageError(name, 'multiboot load address lies before the file');
  // 0 = up to the end of the file, and no BSS.
  const length = loadEnd === 0 ? bytes.length - offset : loadEnd - start;
  if (length < 0 || offset + length > bytes.length)
    throw new ImageError(name, 'multiboot header loads more than the file holds');
  const size = bssEnd === 0 ? length : bssEnd - start;
  if (size < length) throw new ImageError(name, 'multiboot BSS ends before what is loaded');
  return { loads: [{ address: start, bytes: bytes.subarray(offset, offset + length), size }], entry };
}
