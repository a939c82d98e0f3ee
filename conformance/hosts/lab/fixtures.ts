/** What tests of lab hosts share: a host as the cache can give it, and hosts that break under a cell. */
import type { GuestAbiError } from '../../../corpora/errors.js';
import { cachedTree } from '../../packages/package-tree.js';
import { cachedQemu } from '../../packages/qemu-trees.js';
import type { AgentSession, Host } from '../host.js';
import { ensureHostImages } from './host-images.js';
import { BUSYBOX_TREE, ensureInitrd } from './initrd.js';
import { labKernels } from './kernels.js';
import { labCpu } from './lab-cpus.js';
import type { LabHost } from './lab-host.js';
import type { LabMachineSpec } from './lab-machine.js';
import { openLabHosts } from './pool.js';

/** The first kernel of the cache on the plainest CPU; null where the cache lacks a part. */
export async function cachedSpec(): Promise<LabMachineSpec | null> {
  const [kernel] = await labKernels();
  const qemu = await cachedQemu('10.0');
  if (!kernel || !qemu || !(await cachedTree(BUSYBOX_TREE.name))) return null;
  return {
    kernel,
    qemu,
    initrd: await ensureInitrd(kernel, { offline: true }),
    images: await ensureHostImages(),
    cpu: labCpu('EPYC'),
  };
}

/** The lab host of that name; its `why`: what the cache lacks for it. */
export async function cachedHost(name: string): Promise<{ readonly host?: LabHost; readonly why: string }> {
  try {
    const [host] = await openLabHosts([name]);
    return { host: host!, why: '' };
  } catch (error) {
    const { code, message } = error as GuestAbiError;
    if (code !== 'lab-empty' && code !== 'unknown-lab-kernel') throw error;
    return { why: message };
  }
}

/** The host, which `breakIt` breaks as soon as a guest has booted on it. */
export function brokenAfterBoot(real: LabHost, breakIt: () => Promise<void>): Host {
  const warm = async (): Promise<AgentSession> => {
    const session = await real.warm();
    const { agent } = session;
    const call: typeof agent.call = async (op, ...rest) => {
      if (op === 'command') await breakIt();
      return agent.call(op, ...rest);
    };
    return { ...session, agent: Object.assign(Object.create(agent), { call }) as typeof agent };
  };
  const { summary, capabilities, concurrent } = real;
  return { summary, capabilities, concurrent, warm, open: () => real.open(), [Symbol.asyncDispose]: async () => {} };
}
