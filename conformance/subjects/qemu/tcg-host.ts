/** The host of emulated guests: this machine without its KVM. */
import { CpuidTable } from '../../../corpora/cpuid.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { localSocket } from '../../hosts/bridge.js';
import { openChildAgent } from '../../hosts/child-agent.js';
import type { Host } from '../../hosts/host.js';
import { AGENT } from '../../hosts/local.js';

const NOTHING = new CpuidTable([]);

/** TCG offers what is forced on it: no verdict is predicted from this. */
const NO_KVM: HostCapabilities = {
  facts: {
    ...{ kernel: 'none', kernelVersion: 'none', module: 'tcg', moduleParameters: {} },
    ...{ cpuVendor: 'TCGTCGTCGTCG', cpuModel: 'emulated', microcode: null },
  },
  ...{ supportedCpuid: NOTHING, emulatedCpuid: NOTHING, hostCpuid: NOTHING, cpuidAdditions: NOTHING },
  ...{ msrIndices: [], featureMsrs: [], capabilities: {} },
};

/** What results call it. */
export const TCG_HOST = 'tcg';

export const tcgHost = (): Host => {
  const open = () => openChildAgent([process.execPath, AGENT], localSocket);
  return {
    summary: { id: TCG_HOST, kernel: 'none', module: 'tcg', cpu: 'emulated', note: 'guests are emulated, no KVM' },
    capabilities: NO_KVM,
    concurrent: true,
    warm: open,
    open,
    [Symbol.asyncDispose]: async () => {},
  };
};
