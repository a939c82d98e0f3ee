/** Bundles as one file: a tar (POSIX ustar) of plain files, gzipped where its name says so; what `tar czf` makes of the folder is read too. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { InputError } from '../../corpora/errors.js';

const BLOCK = 512;
/** Most bytes of a header's name, and of the folders before it (POSIX pax, "ustar Interchange Format"). */
const [LONGEST_NAME, LONGEST_PREFIX] = [100, 155];

export const isTarName = (path: string): boolean => /\.(tar|tar\.gz|tgz)$/.test(path);
const isGzipName = (path: string): boolean => path.endsWith('gz');

/** Contents by path, as the bytes of a file of this name. The same contents give the same bytes. Throws `InputError` `path-too-long`. */
export function packTar(contents: Readonly<Record<string, string>>, name: string): Buffer {
  const parts = Object.entries(contents).flatMap(([path, text]) => {
    const bytes = Buffer.from(text);
    return [header(path, bytes.length), bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)];
  });
  const tar = Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
  return isGzipName(name) ? gzipSync(tar) : tar;
}

function header(path: string, size: number): Buffer {
  const [prefix, name] = parted(path);
  const block = Buffer.alloc(BLOCK);
  const put = (text: string, at: number): void => void block.write(text, at, 'latin1');
  block.write(name, 0);
  block.write(prefix, 345);
  put('0000644\0', 100);
  put('0000000\0'.repeat(2), 108);
  put(`${size.toString(8).padStart(11, '0')}\0`, 124);
  put(`${'0'.repeat(11)}\0`, 136);
  put('        0', 148);
  put('ustar\x0000', 257);
  put(`${checksum(block).toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

/** Folders and name of a path, cut at the first slash behind which the rest is short enough; no folders where all of it is. */
function parted(path: string): [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= LONGEST_NAME) return ['', path];
  for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (Buffer.byteLength(prefix) > LONGEST_PREFIX) break;
    if (name && Buffer.byteLength(name) <= LONGEST_NAME) return [prefix, name];
  }
  throw new InputError('path-too-long', `'${path}' does not go into a tar (ustar): write the bundle as a folder`, {
    given: path,
  });
}

/** Its own field counts as spaces. */
const checksum = (block: Buffer): number =>
  block.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);

/** Plain files by path. Throws `RangeError` on what is damaged, too large, or neither a file nor a folder. */
export function unpackTar(bytes: Buffer, name: string, most: number): Map<string, Buffer> {
  const tar = isGzipName(name) ? unzipped(bytes, most) : bytes;
  const files = new Map<string, Buffer>();
  for (let at = 0; at + BLOCK <= tar.length; ) {
    const block = tar.subarray(at, at + BLOCK);
    if (block.every((byte) => byte === 0)) return files;
    const text = (from: number, length: number): string =>
      block
        .subarray(from, from + length)
        .toString('utf8')
        .replace(/\0[\s\S]*$/, '');
    if (Number.parseInt(text(148, 8), 8) !== checksum(block)) throw new RangeError('damaged, or no tar');
    const [prefix, path, kind] = [text(345, 155), text(0, LONGEST_NAME), text(156, 1)];
    const size = Number.parseInt(text(124, 12), 8);
    const end = at + BLOCK + size;
    if (!(end <= tar.length)) throw new RangeError('cut short');
    const whole = `${prefix ? `${prefix}/` : ''}${path}`.replace(/^\.\//, '');
    if (kind === '0' || kind === '') files.set(whole, tar.subarray(at + BLOCK, end));
    else if (kind !== '5' && kind !== 'x' && kind !== 'g')
      throw new RangeError(`'${whole}' is neither file nor folder`);
    at = end + ((BLOCK - (size % BLOCK)) % BLOCK);
  }
  throw new RangeError('cut short');
}

function unzipped(bytes: Buffer, most: number): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: most });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new RangeError(code === 'ERR_BUFFER_TOO_LARGE' ? `more than ${most} bytes` : 'damaged, or no gzip');
  }
}
