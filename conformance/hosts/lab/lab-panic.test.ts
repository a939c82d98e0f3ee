/** A lab host whose kernel panics under a cell. Skipped where the cache is empty. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { shortFolder } from '../../../corpora/short-folder.js';
import { resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { runCell } from '../../run/runner.js';
import { brokenAfterBoot, cachedSpec } from './fixtures.js';
import { LabHost } from './lab-host.js';

// An emulated host on a busy machine.
t.setTimeout(300_000);

const spec = await cachedSpec();

void t.test(
  'a kernel that panics under a cell: crashed, with its last words; the next cell has a new host',
  spec ? {} : { skip: 'no lab in the cache: guest-abi lab setup' },
  async (t) => {
    const socket = join(shortFolder(t), 'qmp');
    const more = { arguments: ['-qmp', `unix:${socket},server=on,wait=off`], commandLine: 'unknown_nmi_panic' };
    await using host = await LabHost.start('lab:panics', { ...spec!, more });
    const panicking = brokenAfterBoot(host, () => injectNmi(socket));
    const identity = resolve({ machine: 'pc-i440fx-1.6', cpu: 'Nehalem' });
    const cell = { identity, smp: '1', scenario: 'reset' } as const;
    const options = { allowAltered: false, forceFeatures: false, jobs: 1 };
    const { result } = await runCell({ ...cell, hosts: [panicking] }, options);
    t.match(result, { verdict: 'crashed', predicted: 'identical', reasons: [{ message: /Kernel panic/ }] });
    t.match((await runCell({ ...cell, hosts: [host] }, options)).result, { verdict: 'identical' });
  },
);

/** By QEMU's control socket; resolves when the host has ended of it. */
async function injectNmi(socket: string): Promise<void> {
  const control = connect(socket);
  control.write('{"execute":"qmp_capabilities"}{"execute":"inject-nmi"}');
  control.resume();
  await once(control, 'close');
}
