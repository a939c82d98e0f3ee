/** A guest that cannot be sent, with real agents: the error says what both sides know. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { identityToJson } from '../../corpora/identity.js';
import { shortFolder } from '../../corpora/short-folder.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { openLocalHost } from '../hosts/local.js';
import { cachedQemu, QEMU_RELEASES } from '../packages/qemu-trees.js';
import { sendTo } from './send.js';

void t.test(
  'where the destination waits no more, the source says so and the destination its own word',
  needsKvm,
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'send-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    await using host = await openLocalHost();
    await using source = await host.open();
    await using destination = await host.open();
    const identity = structuredClone(identityToJson(resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' }))) as never;
    const request = { identity, allowAltered: true, forceFeatures: true, msrs: [], fault: null };
    t.match(await source.agent.call('boot', request), { kind: 'running' });
    const socket = join(folder, 'link');
    await destination.agent.call('listen', { ...request, socket });
    await destination.agent.call('close', {});
    await t.rejects(sendTo(destination, source, { socket }), {
      message: /link.*; the destination: .* is listened on no more/,
    });
    t.match(await source.agent.call('command', { command: 'dump' }), { kind: 'running' }, 'the guest is where it was');
  },
);

void t.test('a QEMU whose source does not send waits for nothing', needsKvm, async (t) => {
  await using host = await openLocalHost();
  const identity = structuredClone(identityToJson(resolve({ machine: 'pc-q35-5.2', cpu: 'Nehalem' }))) as never;
  // Each says otherwise of itself while nobody has connected.
  for (const binary of QEMU_RELEASES)
    await t.test(binary, { skip: !(await cachedQemu(binary)) && `QEMU ${binary} is not in the cache` }, async (t) => {
      const socket = join(shortFolder(t), 'link');
      await using source = await host.warm();
      await using destination = await host.warm();
      const request = {
        ...{ identity, allowAltered: true, forceFeatures: true, msrs: [], fault: null },
        qemu: { binary, accel: 'tcg' as const },
      };
      t.match(await source.agent.call('boot', request), { kind: 'running' });
      await destination.agent.call('listen', { ...request, socket });
      const sent = await source.agent.call('send', { socket: `${socket}-of-nobody` });
      t.match(sent, { kind: 'refused', reasons: [{ message: /connect/ }] });
      t.match(await destination.agent.call('received', { gaveUp: true }), {
        kind: 'refused',
        reasons: [{ message: 'QEMU: no state came: its source gave up' }],
      });
    });
});
