import t from 'tap';
import type { HostFacts } from '../corpora/host-capabilities.js';
import { msrLimitReasons } from './msr-limits.js';

const FACTS: HostFacts = {
  ...{ kernel: '5.10.0', kernelVersion: '', module: 'kvm_amd', moduleParameters: { 'kvm.ignore_msrs': 'N' } },
  ...{ cpuVendor: 'AuthenticAMD', cpuModel: 'EPYC', microcode: null },
};
const OFFERED = {
  KVM_CAP_X86_MSR_FILTER: 1,
  KVM_CAP_X86_USER_SPACE_MSR: 1,
  KVM_CAP_ENFORCE_PV_FEATURE_CPUID: 1,
};
const codes = (host: Partial<{ facts: HostFacts; capabilities: Record<string, number> }>) =>
  msrLimitReasons({ facts: FACTS, capabilities: OFFERED, ...host }, 'boot').map(({ code }) => code);

void t.test('a kernel that can deny MSRs is taken', async (t) => {
  t.same(codes({}), []);
});

void t.test('each capability that a kernel lacks is a refusal', async (t) => {
  for (const capability of Object.keys(OFFERED)) {
    const capabilities = { ...OFFERED, [capability]: 0 };
    const [why] = msrLimitReasons({ facts: FACTS, capabilities }, 'boot');
    t.match(why, { code: 'msr-filter-not-offered', message: new RegExp(capability) });
  }
});

void t.test('ignore_msrs on the host is refused', async (t) => {
  for (const on of ['Y', '1']) {
    const facts = { ...FACTS, moduleParameters: { 'kvm.ignore_msrs': on } };
    t.same(codes({ facts }), ['ignore-msrs']);
  }
});
