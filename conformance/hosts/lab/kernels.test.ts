/** Tests of choosing kernels from package records, of both packagings, and of kernels given as files. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { addKernel, combine, compareVersions, labKernels, parseKernelRecords } from './kernels.js';

const record = (name: string, version: string, size: number, source?: string): string =>
  `Package: ${name}\n${source ? `Source: ${source}\n` : ''}Version: ${version}\nSize: ${size}\n`;

const RECORDS = [
  record('linux-image-5.10.0-46-cloud-amd64', '5.10.262-1', 21_000_000, 'linux-signed-amd64 (5.10.262+1)'),
  record('linux-image-5.10.0-9-cloud-amd64', '5.10.70-1', 21_000_000, 'linux-signed-amd64 (5.10.70+1)'),
  record('linux-image-6.1.0-0.deb11.52-cloud-amd64', '6.1.180-1~deb11u1', 28_000_000, 'linux-signed-6.1-amd64 (6.1)'),
  record('linux-image-7.2.12+deb13-cloud-amd64', '7.2.12-1', 1924, 'linux-signed-amd64 (7.2.12+1)'),
  record('linux-binary-7.2.12+deb13-cloud-amd64', '7.2.12-1', 13_000_000, 'linux-signed-amd64 (7.2.12+1)'),
  record('linux-modules-7.2.12+deb13-cloud-amd64', '7.2.12-1', 37_000_000, 'linux'),
  record('linux-binary-unsigned-7.3.4+deb13-cloud-amd64', '7.3.4-1', 13_000_000, 'linux'),
  record('linux-modules-7.3.4+deb13-cloud-amd64', '7.3.4-1', 22_000_000, 'linux'),
  record('linux-modules-7.4.0+deb13-cloud-amd64', '7.4.0-1', 22_000_000, 'linux'),
].join('\n');

t.equal(parseKernelRecords(RECORDS).length, 8, 'a newer kernel backported within the suite is not its own');

void t.test('newest first; an image that is empty, or modules without an image, make no kernel', async (t) => {
  const kernels = combine('trixie-backports', parseKernelRecords(RECORDS));
  t.same(
    kernels.map((kernel) => kernel.id),
    ['7.3.4+deb13', '7.2.12+deb13', '5.10.0-46', '5.10.0-9'],
  );
  t.same(kernels[0]?.packages, [
    'linux-binary-unsigned-7.3.4+deb13-cloud-amd64',
    'linux-modules-7.3.4+deb13-cloud-amd64',
  ]);
  t.same(kernels[2], {
    id: '5.10.0-46',
    suite: 'trixie-backports',
    version: '5.10.262-1',
    packages: ['linux-image-5.10.0-46-cloud-amd64'],
  });
});

void t.test('versions are ordered by their numbers', async (t) => {
  const ids = ['7.3.4+deb13', '6.12.9+deb13', '6.12.107+deb13', '5.10.0-46', '5.10.0-9'];
  t.same([...ids].sort(compareVersions), ['5.10.0-9', '5.10.0-46', '6.12.9+deb13', '6.12.107+deb13', '7.3.4+deb13']);
});

void t.test('a kernel given as files is listed under its release', async (t) => {
  const root = t.testdir({ from: { vmlinuz: 'image', '6.9.1-own': { 'kvm.ko': 'module' } } });
  const own = await addKernel(join(root, 'from/vmlinuz'), join(root, 'from/6.9.1-own'), root);
  t.match(own, { id: '6.9.1-own', release: '6.9.1-own', origin: 'file', version: null });
  t.same(await labKernels(root), [own]);
  await t.rejects(addKernel(join(root, 'nowhere'), root, root), { code: 'not-a-kernel', message: /nowhere/ });
  const manifest = { schema: 'guest-abi/package-tree/1', packages: [] };
  await mkdir(join(root, 'trees/kernel-6.9.2'));
  await writeFile(join(root, 'trees/kernel-6.9.2/manifest.json'), JSON.stringify(manifest));
  await mkdir(join(root, 'from/6.9.2-cloud-amd64'));
  const taken = addKernel(join(root, 'from/vmlinuz'), join(root, 'from/6.9.2-cloud-amd64'), root);
  await t.rejects(taken, { code: 'kernel-exists' });
  await writeFile(join(root, 'file'), '');
  await t.rejects(addKernel(join(root, 'from/vmlinuz'), join(root, 'file'), root), { code: 'not-a-kernel' });
});
