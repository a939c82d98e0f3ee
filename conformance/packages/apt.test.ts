/** Tests of the private apt against repositories on disk and a mirror that does not answer. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { isWhole, openApt, parseUris } from './apt.js';
import { aptFailure } from './apt-failure.js';

const code = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error) => error.code,
  );

void t.test('--print-uris lines give name, version with epoch, size and checksum', async (t) => {
  const sha256 = 'ab'.repeat(32);
  const line = `'http://m.example/pool/b/busybox-static_1.38.0-3%2bb1_amd64.deb' busybox-static_1%3a1.38.0-3+b1_amd64.deb 970908 SHA256:${sha256}`;
  t.same(parseUris(`noise\n${line}\n`), [
    {
      file: 'busybox-static_1%3a1.38.0-3+b1_amd64.deb',
      name: 'busybox-static',
      version: '1:1.38.0-3+b1',
      architecture: 'amd64',
      bytes: 970908,
      sha256,
    },
  ]);
  t.throws(() => parseUris(line.replace('SHA256', 'MD5Sum')), { code: 'apt-failed' });
});

void t.test('a file of another length or content is not whole', async (t) => {
  const folder = t.testdir({ whole: 'content', short: 'conten', other: 'contenT' });
  const sha256 = createHash('sha256').update('content').digest('hex');
  const file = (name: string) => ({ name, file: name, version: '1', architecture: 'all', bytes: 7, sha256 });
  t.equal(await isWhole(file('whole'), folder), true);
  t.equal(await isWhole(file('short'), folder), false);
  t.equal(await isWhole(file('other'), folder), false);
  t.equal(await isWhole(file('absent'), folder), false);
});

void t.test('a repository without a signature is refused', async (t) => {
  const folder = t.testdir();
  const dist = join(folder, 'debian/dists/trixie');
  await mkdir(join(dist, 'main/binary-amd64'), { recursive: true });
  await writeFile(join(dist, 'main/binary-amd64/Packages'), '');
  await writeFile(join(dist, 'Release'), 'Suite: trixie\nComponents: main\nArchitectures: amd64\n');
  const machine = [{ uri: `file:${folder}/debian`, suite: 'bookworm', signedBy: null }];
  const apt = await openApt(join(folder, 'cache'), ['trixie'], machine);
  t.equal(await code(apt.update()), 'package-signature');
  t.equal(await code(apt.update()), 'package-signature', 'a failed update does not count as fresh');
});

void t.test('a mirror that does not answer is a network error', async (t) => {
  const folder = t.testdir();
  const machine = [{ uri: 'http://127.0.0.1:9/debian', suite: 'bookworm', signedBy: null }];
  const apt = await openApt(folder, ['trixie'], machine);
  t.equal(await code(apt.update()), 'no-network');
});

void t.test('messages of apt and dpkg-deb get the code of their cause', async (t) => {
  const cases = {
    "E: You don't have enough free space in /c/archives/.": 'cache-disk-full',
    'dpkg-deb: error: paste subprocess: No space left on device': 'cache-disk-full',
    "W: Failed to fetch http://m/x  Temporary failure resolving 'm'": 'no-network',
    'E: Failed to fetch http://m/x.deb  File has unexpected size (1 != 2). Mirror sync in progress?': 'package-corrupt',
    "dpkg-deb: error: 'x.deb' is not a Debian format archive": 'package-corrupt',
    'W: GPG error: http://m trixie InRelease: NO_PUBKEY 0E98404D386FA1D9': 'package-signature',
    'E: Unable to locate package linux-image': 'package-missing',
    'E: something new': 'apt-failed',
  };
  for (const [text, expected] of Object.entries(cases)) t.equal(aptFailure('step', text).code, expected, text);
});
