import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { abiInclude } from './abi-include.js';
import { buildProbe } from './build.js';
import { PROBES, probeFolder, probeImage } from './images.js';

const missing = ['as', 'ld'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
const skip = missing.length > 0 && `not installed: ${missing.join(', ')}`;

await t.test("the assembler's constants are those of the probe ABI", async (t) => {
  t.equal(readFileSync(join(probeFolder('cpu-state'), '../abi.inc'), 'utf8'), abiInclude());
});

for (const probe of PROBES) {
  await t.test(`${probe}: the committed image is what its source builds`, { skip }, async (t) => {
    t.ok(Buffer.from(probeImage(probe)).equals(buildProbe(probeFolder(probe))));
  });

  await t.test(`${probe}: the image offers multiboot 1 and PVH`, async (t) => {
    const image = Buffer.from(probeImage(probe));
    t.equal(image.readUInt8(4), 1, 'ELF32');
    const header = image.indexOf(Buffer.from('02b0ad1b', 'hex'));
    t.ok(header >= 0 && header < 8192 && header % 4 === 0, 'multiboot header in the first 8 KiB');
    t.equal((image.readUInt32LE(header) + image.readUInt32LE(header + 4) + image.readUInt32LE(header + 8)) >>> 0, 0);
    const note = image.indexOf(Buffer.from('040000000400000012000000', 'hex'));
    t.equal(image.toString('latin1', note + 12, note + 15), 'Xen');
    t.ok(image.readUInt32LE(note + 16) >= 0x100000, 'entry above 1 MiB');
  });
}
