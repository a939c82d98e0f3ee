/** Read-only ext4 images made of folders: the same content gives the same bytes. */
import { mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MachineError } from '../../../corpora/errors.js';
import { diskFull } from '../../packages/cache.js';
import { runCommand } from '../../packages/command.js';

/** All times in an image, in seconds since 1970. */
const EPOCH = 1_600_000_000;
const UUID = '6775e574-2d61-4269-8000-000000000001';
/** All that an image which is never written needs; no checksums over the inodes, whose times are set afterwards. */
const FEATURES = 'none,extent,filetype,sparse_super,large_file,dir_index,ext_attr';

/** Writes an ext4 file system with the content of `folder` to `image`, of about `bytes` of content. */
export async function makeExt4(folder: string, image: string, bytes: number): Promise<void> {
  await mkdir(dirname(image), { recursive: true });
  const kib = Math.ceil((bytes * 1.05) / 1024) + 4096;
  const extended = `hash_seed=${UUID},root_owner=0:0,lazy_itable_init=0,nodiscard`;
  const shape = ['-b', '4096', '-I', '256', '-m', '0', '-O', FEATURES, '-U', UUID];
  const args = ['-q', '-F', ...shape, '-E', extended, '-d', folder, image, `${kib}k`];
  const time = String(EPOCH);
  const env = {
    ...process.env,
    PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
    E2FSPROGS_FAKE_TIME: time,
    SOURCE_DATE_EPOCH: time,
    MKE2FS_CONFIG: '/dev/null',
  };
  const result = await runCommand('mke2fs', args, { deadline: 300_000, env });
  if (/No space left/.test(result.stderr)) throw diskFull(image);
  if (result.status !== 0)
    throw new MachineError('image-not-made', `mke2fs: ${result.stderr.trim() || `status ${result.status}`}`);
  await fixTimes(image);
}

/** Offsets of ext4's superblock and inode (Linux fs/ext4/ext4.h, `struct ext4_super_block`, `struct ext4_inode`). */
const SUPERBLOCK = { at: 1024, inodes: 0x0, blockSize: 0x18, inodesPerGroup: 0x28, inodeSize: 0x58 } as const;
const GROUP = { size: 32, inodeTable: 0x8 } as const;
const INODE_TIMES = [0x8, 0xc, 0x10, 0x90];
const INODE_NANOSECONDS = [0x84, 0x88, 0x8c, 0x94];

/** Sets the times of every inode in use: mke2fs before 1.47.1 copies access and change times of the files it reads. */
async function fixTimes(image: string): Promise<void> {
  const file = await open(image, 'r+');
  try {
    const superblock = await readAt(file, SUPERBLOCK.at, 1024);
    const blockSize = 1024 << superblock.readUInt32LE(SUPERBLOCK.blockSize);
    const inodeSize = superblock.readUInt16LE(SUPERBLOCK.inodeSize);
    const perGroup = superblock.readUInt32LE(SUPERBLOCK.inodesPerGroup);
    const groups = Math.ceil(superblock.readUInt32LE(SUPERBLOCK.inodes) / perGroup);
    const descriptors = await readAt(file, blockSize, groups * GROUP.size);
    for (let group = 0; group < groups; group++) {
      const place = descriptors.readUInt32LE(group * GROUP.size + GROUP.inodeTable) * blockSize;
      const table = await readAt(file, place, perGroup * inodeSize);
      for (let at = 0; at < table.length; at += inodeSize) fixInode(table.subarray(at, at + inodeSize));
      await file.write(table, 0, table.length, place);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

function fixInode(inode: Buffer): void {
  if (inode.readUInt16LE(0) === 0) return;
  for (const offset of INODE_TIMES) inode.writeUInt32LE(EPOCH, offset);
  for (const offset of INODE_NANOSECONDS) inode.writeUInt32LE(0, offset);
}

async function readAt(file: Awaited<ReturnType<typeof open>>, place: number, length: number): Promise<Buffer> {
  const { size } = await file.stat();
  if (place + length > size)
    throw new MachineError('image-not-made', `the image ends at ${size}, before ${place + length}`);
  const { buffer } = await file.read(Buffer.alloc(length), 0, length, place);
  return buffer;
}

/** Sum of the sizes of files, each rounded up to blocks, in bytes. */
export async function contentBytes(files: readonly (string | Uint8Array)[]): Promise<number> {
  let bytes = 0;
  for (const file of files) {
    const size = typeof file === 'string' ? (await stat(file)).size : file.length;
    bytes += Math.ceil(size / 4096) * 4096 + 512;
  }
  return bytes;
}
