/** The initrd of a lab kernel: busybox, the modules that it needs, and the init script; cached by content. */
import { createHash } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheRoot, publishFile } from '../../packages/cache.js';
import { ensureTree, type TreeOptions, type TreeSpec } from '../../packages/package-tree.js';
import { CHARACTER_DEVICE, type CpioEntry, FILE, FOLDER, writeCpio } from './cpio.js';
import { INIT_SCRIPT } from './init-script.js';
import type { LabKernel } from './kernels.js';
import { type KernelModule, loadModules } from './modules.js';

/** Busybox, statically linked, for every lab kernel. */
export const BUSYBOX_TREE: TreeSpec = {
  name: 'busybox',
  suite: 'trixie',
  also: [],
  packages: ['busybox-static'],
  dependencies: false,
};

/** KVM on AMD, the disks, and the port; what a kernel has built in is no file and is left out. */
const MODULES: readonly string[] = ['kvm_amd', 'virtio_pci', 'virtio_blk', 'virtio_console'];

/** The initrd for a kernel, from the cache or built. `options` serve where busybox is not cached yet. */
export async function ensureInitrd(kernel: LabKernel, options: TreeOptions = {}): Promise<string> {
  const busybox = await ensureTree(BUSYBOX_TREE, options);
  const modules = await loadModules(kernel.modules, MODULES);
  const archive = writeCpio(entriesOf(await findBusybox(busybox.root), modules));
  const digest = createHash('sha256').update(archive).digest('hex').slice(0, 16);
  const path = join(options.root ?? cacheRoot(), 'initrds', `${kernel.id}-${digest}.cpio`);
  const there = await access(path).then(
    () => true,
    () => false,
  );
  if (!there) await publishFile(path, archive);
  return path;
}

async function findBusybox(root: string): Promise<Buffer> {
  return readFile(join(root, 'usr/bin/busybox')).catch(() => readFile(join(root, 'bin/busybox')));
}

function entriesOf(busybox: Buffer, modules: readonly KernelModule[]): CpioEntry[] {
  const folder = (path: string): CpioEntry => ({ path, mode: FOLDER | 0o755, content: Buffer.alloc(0) });
  const file = (path: string, mode: number, content: Buffer): CpioEntry => ({ path, mode: FILE | mode, content });
  const order = (i: number): string => String(i).padStart(2, '0');
  return [
    folder('bin'),
    file('bin/busybox', 0o755, busybox),
    folder('dev'),
    // The kernel opens it for init before devtmpfs can be mounted.
    { path: 'dev/console', mode: CHARACTER_DEVICE | 0o600, content: Buffer.alloc(0), device: { major: 5, minor: 1 } },
    folder('modules'),
    ...modules.map((module, i) => file(`modules/${order(i)}-${module.name}.ko`, 0o644, module.content)),
    file('init', 0o755, Buffer.from(INIT_SCRIPT)),
  ];
}
