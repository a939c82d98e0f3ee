/** A migration that its source gives up unasked: the guest never moved, and no verdict says that it did. */
import t from 'tap';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type { AgentClient } from '../hosts/agent/client.js';
import type { AgentSession, Host } from '../hosts/host.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { runCell } from '../run/runner.js';

/** `host` whose guests never leave. */
function clinging(host: Host): Host {
  const open = async (): Promise<AgentSession> => {
    const { agent, socket, [Symbol.asyncDispose]: end } = await host.open();
    const call = (async (op: string, params: never) =>
      op === 'send' ? { kind: 'stayed' } : agent.call(op as 'boot', params)) as AgentClient['call'];
    return { agent: { call } as AgentClient, socket, [Symbol.asyncDispose]: end };
  };
  const { summary, capabilities } = host;
  return { summary, capabilities, concurrent: true, open, warm: open, [Symbol.asyncDispose]: async () => {} };
}

void t.test('a source that gives up what nobody cancelled: the guest did not move', async (t) => {
  const host = await RecordedHost.open('rich/6.12');
  const identity = resolve({ machine: 'pc-i440fx-1.6', cpu: 'Nehalem' });
  const options = { allowAltered: false, forceFeatures: false, jobs: 1 };
  const verdictOn = async (on: Host) =>
    (await runCell({ identity, smp: '1', hosts: [on, on], scenario: 'migrate' }, options)).result;
  t.match(await verdictOn(host), { verdict: 'identical' });
  const stayed = await verdictOn(clinging(host));
  t.match(stayed, {
    verdict: 'crashed',
    reasons: [{ step: 'hop-1-source', message: /gave the migration up, unasked/ }],
  });
});
