/** Writes cpio archives in the `newc` format, which Linux takes as an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface CpioEntry {
  /** Path without a leading slash. */
  readonly path: string;
  /** File type and permissions as in `st_mode`. */
  readonly mode: number;
  readonly content: Uint8Array;
  /** Device number of a device node. */
  readonly device?: { readonly major: number; readonly minor: number };
}

export const FILE = 0o100000;
export const FOLDER = 0o040000;
export const SYMLINK = 0o120000;
export const CHARACTER_DEVICE = 0o020000;

/** The archive of `entries` in the order given. Owner, times and inode numbers are fixed: same entries, same bytes. */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const trailer: CpioEntry = { path: 'TRAILER!!!', mode: 0, content: new Uint8Array() };
  const parts = [...entries.map((entry, i) => writeEntry(entry, i + 1)), writeEntry(trailer, 0)];
  return pad(Buffer.concat(parts), 512);
}

function writeEntry(entry: CpioEntry, inode: number): Buffer {
  const name = Buffer.from(`${entry.path}\0`);
  const links = (entry.mode & 0o170000) === FOLDER ? 2 : 1;
  const { major, minor } = entry.device ?? { major: 0, minor: 0 };
  const fields = [inode, entry.mode, 0, 0, links, 0, entry.content.length, 0, 0, major, minor, name.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return Buffer.concat([pad(Buffer.concat([header, name]), 4), pad(Buffer.from(entry.content), 4)]);
}

const pad = (bytes: Buffer, to: number): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & (to - 1))]);
