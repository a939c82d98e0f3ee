/** The local host: agents are child processes on this machine's /dev/kvm. */
import { fileURLToPath } from 'node:url';
import { localSocket } from './bridge.js';
import { openChildAgent } from './child-agent.js';
import { ProcessHost, type ProcessHostSpec } from './process-host.js';

/** The agent as a program. */
export const AGENT = fileURLToPath(new URL('agent/main.js', import.meta.url));

/** Throws `MachineError` where /dev/kvm cannot be used. */
export const openLocalHost = (how: Pick<ProcessHostSpec, 'onLost'> = {}): Promise<ProcessHost> =>
  ProcessHost.start({ id: 'local', openAgent: () => openChildAgent([process.execPath, AGENT], localSocket), ...how });
