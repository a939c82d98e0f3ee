/** Tests of package trees: against the machine's mirror where it can be reached, and offline. */
import { access, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { GuestAbiError } from '../../corpora/errors.js';
import { publishFolder, withLock } from './cache.js';
import { cachedTree, ensureTree, plan, type TreeSpec } from './package-tree.js';

/** A small package from a small suite: half a megabyte of lists. */
const SPEC: TreeSpec = {
  name: 'tiny',
  suite: 'trixie-backports',
  also: [],
  dependencies: false,
  packages: async (apt) =>
    (await apt.names('')).filter((name) => /^(debhelper|devscripts|dh-python|fastfetch)$/.test(name)).slice(0, 1),
};

void t.test('a tree that is not cached is refused offline, by name', async (t) => {
  const promise = ensureTree(SPEC, { root: t.testdir(), offline: true });
  await t.rejects(promise, { code: 'not-cached', message: /tiny/ });
});

void t.test('a folder appears whole or not at all', async (t) => {
  const root = t.testdir({ '.unfinished-tree-killed': { half: '' } });
  const path = join(root, 'tree');
  await t.rejects(
    publishFolder(path, async (folder) => {
      await writeFile(join(folder, 'half'), '');
      throw new Error('killed');
    }),
    /killed/,
  );
  t.same(await readdir(root), []);
  await publishFolder(path, (folder) => writeFile(join(folder, 'whole'), ''));
  await publishFolder(path, (folder) => writeFile(join(folder, 'newer'), ''));
  t.same(await readdir(path), ['newer']);
});

void t.test('a lock lets one in at a time and is free after an error', async (t) => {
  const file = join(t.testdir(), 'lock');
  let inside = 0;
  let most = 0;
  const enter = () =>
    withLock(file, async () => {
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside--;
    });
  await t.rejects(
    withLock(file, () => Promise.reject(new Error('in the lock'))),
    /in the lock/,
  );
  await Promise.all([enter(), enter(), enter()]);
  t.equal(most, 1);
});

void t.test('a damaged manifest is named', async (t) => {
  const root = t.testdir({ trees: { tiny: { 'manifest.json': '{' } } });
  await t.rejects(cachedTree('tiny', root), { code: 'cache-damaged' });
});

void t.test('planned, fetched by two at once, then used offline', async (t) => {
  const root = t.testdir();
  let planned: Awaited<ReturnType<typeof plan>>;
  try {
    planned = await plan(SPEC, { root });
  } catch (error) {
    const { code, message } = error as GuestAbiError;
    if (code !== 'no-network' && code !== 'program-missing') throw error;
    return t.plan(0, `the mirror cannot be used: ${message}`);
  }
  t.equal(planned.cached, false);
  t.equal(planned.bytes, planned.packages[0]?.bytes);
  const [one, two] = await Promise.all([ensureTree(SPEC, { root }), ensureTree(SPEC, { root })]);
  t.same(one.manifest, two.manifest);
  t.same(one.manifest.packages, planned.packages);
  await access(join(one.root, 'usr'));
  t.same(await ensureTree(SPEC, { root, offline: true }), one);
  t.equal((await plan(SPEC, { root, offline: true })).bytes, 0);
  t.equal(
    (await ensureTree(SPEC, { root, refresh: true })).manifest.obtained,
    one.manifest.obtained,
    'the same files are not loaded again',
  );
  // A download that was cut: what is in the way is neither unpacked nor kept.
  const archives = join(root, 'archives', SPEC.name);
  await rm(one.root, { recursive: true });
  await rm(join(root, 'trees', SPEC.name), { recursive: true });
  await mkdir(archives, { recursive: true });
  const { name, version } = one.manifest.packages[0]!;
  await writeFile(join(archives, `${name}_${version.replaceAll(':', '%3a')}_all.deb`), '!<arch>\ncut');
  t.same((await ensureTree(SPEC, { root })).manifest.packages, one.manifest.packages);
});
