/** Every part of a vCPU's state travels: marked on one vCPU, taken, given to another, and looked up there part by part. */
import t from 'tap';
import { keptTable, needsKvm } from '../fixtures.js';
import type { Kvm, StatePart, Vcpu } from '../kvm/kvm.js';
import { STATE_PARTS } from '../kvm/kvm.js';
import { LAYOUT } from '../kvm/layout.js';
import { openKvm } from '../kvm/system.js';
import { giveVcpuState, takeVcpuState } from './vcpu-state.js';

/** With a local APIC, as a machine's. */
function freshVcpu(kvm: Kvm): Vcpu {
  const vm = kvm.createVm();
  vm.enableCap('KVM_CAP_SPLIT_IRQCHIP', 24n);
  vm.createMemory([{ gpa: 0, bytes: 0x1_0000 }]);
  const vcpu = vm.createVcpu(0);
  vcpu.setCpuid2(keptTable(kvm));
  return vcpu;
}

const PATTERN = 0x1234_5678_9abc_def0n;
const HALTED = 3;
/** XSAVE area: XMM0, and XSTATE_BV with SSE in it (SDM vol. 1, 13.4). */
const [XMM0, XSTATE_BV, SSE] = [160, 512, 2];
/** kvm_debugregs.db[0], kvm_vcpu_events.nmi.masked, the APIC's spurious interrupt vector (its task priority would come with CR8). */
const [DR0, NMI_MASKED, SPURIOUS] = [0, 14, 0xf0];

/** What no vCPU begins with, in every part. */
function mark(vcpu: Vcpu): void {
  const edit = (part: StatePart, change: (view: DataView) => void): void => {
    const bytes = vcpu.getState(part);
    change(new DataView(bytes.buffer));
    vcpu.setState(part, bytes);
  };
  vcpu.setRegs({ ...vcpu.getRegs(), rax: PATTERN });
  vcpu.setSregs({ ...vcpu.getSregs(), cr2: PATTERN });
  edit('xcrs', (view) => view.setBigUint64(LAYOUT.kvm_xcrs.offsets.xcrs + LAYOUT.kvm_xcr.offsets.value, 3n, true));
  edit('xsave', (view) => {
    view.setBigUint64(XMM0, PATTERN, true);
    view.setUint32(XSTATE_BV, view.getUint32(XSTATE_BV, true) | SSE, true);
  });
  edit('debugregs', (view) => view.setBigUint64(DR0, 0x1000n, true));
  edit('lapic', (view) => view.setUint32(SPURIOUS, 0x1ff, true));
  edit('events', (view) => view.setUint8(NMI_MASKED, 1));
  edit('mp-state', (view) => view.setUint32(0, HALTED, true));
}

void t.test('what each part of the state holds arrives', needsKvm, async (t) => {
  using kvm = openKvm();
  const [source, destination] = [freshVcpu(kvm), freshVcpu(kvm)];
  const partsOf = (vcpu: Vcpu) =>
    Object.fromEntries(STATE_PARTS.map((part) => [part, Buffer.from(vcpu.getState(part)).toString('hex')]));
  const before = partsOf(destination);
  mark(source);
  const marked = partsOf(source);
  t.strictSame(giveVcpuState(destination, takeVcpuState(source, 0, [])), []);
  const arrived = partsOf(destination);
  for (const part of STATE_PARTS) {
    t.not(marked[part], before[part], `${part} was marked`);
    t.equal(arrived[part], marked[part], `${part} arrived`);
  }
});
