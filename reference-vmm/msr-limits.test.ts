import t from 'tap';
import type { HostFacts } from '../corpora/host-capabilities.js';
import { identityOf, keptTable, needsKvm, noNames, smpIdentity } from './fixtures.js';
import type { Capability } from './kvm/capability.js';
import { injectFaults } from './kvm/inject.js';
import type { Kvm } from './kvm/kvm.js';
import { openKvm } from './kvm/system.js';
import { Machine } from './monitor.js';
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

void t.test('no machine is made where a guest could not be kept to its MSRs', needsKvm, async (t) => {
  using kvm = openKvm();
  const identity = identityOf(keptTable(kvm));
  const made = (on: Kvm): readonly string[] => {
    const creation = Machine.create(on, identity, { nameOf: noNames, forceFeatures: true });
    if (creation.kind === 'refused') return creation.reasons.map(({ code }) => code);
    creation.machine[Symbol.dispose]();
    return [];
  };
  t.same(made(kvm), []);
  for (const lacks of Object.keys(OFFERED) as Capability[])
    t.same(made(injectFaults(kvm, { lacks: [lacks] })), ['msr-filter-not-offered'], lacks);
  const facts = { ...kvm.facts, moduleParameters: { ...kvm.facts.moduleParameters, 'kvm.ignore_msrs': 'Y' } };
  t.same(made({ ...injectFaults(kvm, {}), facts }), ['ignore-msrs']);
});

void t.test('hypercalls that the CPU does not announce are switched off, on each vCPU', needsKvm, async (t) => {
  using kvm = openKvm();
  const enabled: string[] = [];
  const on = injectFaults(kvm, {});
  const createVm = () => {
    const vm = on.createVm();
    const createVcpu = (id: number) => {
      const vcpu = vm.createVcpu(id);
      const enableCap: typeof vcpu.enableCap = (capability, ...args) => {
        enabled.push(`${id} ${capability} ${args.join()}`);
        vcpu.enableCap(capability, ...args);
      };
      return { ...vcpu, enableCap };
    };
    return { ...vm, createVcpu };
  };
  const made = Machine.create({ ...on, createVm }, smpIdentity('2'), {
    ...{ nameOf: noNames, forceFeatures: true, allowAltered: true },
  });
  if (made.kind === 'created') made.machine[Symbol.dispose]();
  t.same(enabled, ['0 KVM_CAP_ENFORCE_PV_FEATURE_CPUID 1', '1 KVM_CAP_ENFORCE_PV_FEATURE_CPUID 1']);
});
