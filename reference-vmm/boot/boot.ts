/** From a kernel image, modules and a command line to a boot plan. */
import { isElf } from './elf.js';
import { findMultibootHeader, type MultibootOptions, planMultiboot } from './multiboot.js';
import { place } from './place.js';
import { type BootOptions, type BootPlan, ImageError } from './plan.js';
import { planPvh } from './pvh.js';

/** Where a flat image is put and started. */
const FLAT_BASE = 0x10_0000;

/** The last plan of each options: one guest after the other boots the same. */
const plans = new WeakMap<BootOptions, { readonly memoryBytes: number; readonly plan: BootPlan }>();

/**
 * Plans a boot into `memoryBytes` of RAM; options are values, read once. Throws `InputError` on an image that is malformed, of no
 * known kind or too large.
 */
export function planBoot(options: BootOptions, memoryBytes: number): BootPlan {
  const known = plans.get(options);
  if (known?.memoryBytes === memoryBytes) return known.plan;
  const plan = makePlan(options, memoryBytes);
  plans.set(options, { memoryBytes, plan });
  return plan;
}

function makePlan({ image, modules = [], append = '' }: BootOptions, memoryBytes: number): BootPlan {
  const { name, bytes, protocol = 'auto' } = image;
  const options = { modules, append, memoryBytes };
  const header = findMultibootHeader(bytes);
  switch (protocol) {
    case 'multiboot':
      if (header === null) throw new ImageError(name, 'no multiboot header in its first 8192 bytes');
      return planMultiboot(name, bytes, header, options);
    case 'pvh':
      if (!isElf(bytes)) throw new ImageError(name, 'PVH wants an ELF file');
      return planPvh(name, bytes, options);
    case 'flat':
      return planFlat(name, bytes, options);
    case 'auto':
      if (header !== null) return planMultiboot(name, bytes, header, options);
      return isElf(bytes) ? planPvh(name, bytes, options) : planFlat(name, bytes, options);
  }
}

/** Raw code at 1 MiB. */
function planFlat(name: string, bytes: Uint8Array, { modules, append, memoryBytes }: MultibootOptions): BootPlan {
  if (bytes.length === 0) throw new ImageError(name, 'empty file');
  if (modules.length > 0 || append !== '')
    throw new ImageError(name, 'a flat image takes no modules and no command line');
  // Linux Documentation/arch/x86/boot.rst: "HdrS" at 0x202.
  if (Buffer.from(bytes.subarray(0x202, 0x206)).toString('latin1') === 'HdrS')
    throw new ImageError(name, 'a Linux bzImage; give the ELF vmlinux in it, which boots by PVH');
  const loads = [{ address: FLAT_BASE, bytes, size: bytes.length }];
  return {
    protocol: 'flat',
    loads: place(name, loads, [], memoryBytes).loads,
    entry: { eip: FLAT_BASE, eax: 0, ebx: 0 },
  };
}

/** `-initrd` as QEMU reads it for multiboot: files separated by commas, `,,` for a comma, each `FILE ARGUMENTS`. */
export function splitModuleList(list: string): { readonly file: string; readonly text: string }[] {
  return (list.match(/(?:[^,]|,,)+/g) ?? [])
    .map((entry) => entry.replaceAll(',,', ','))
    .map((text) => ({ file: text.split(' ')[0]!, text }));
}
