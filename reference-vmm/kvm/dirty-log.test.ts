import t from 'tap';
import { needsKvm, rawVcpu } from '../fixtures.js';
import { injectFaults } from './inject.js';
import { openKvm } from './system.js';

const soon = () => performance.now() + 1000;
/** Of the 16 pages of `rawVcpu`. */
const pages = (bitmap: Uint8Array): number[] =>
  Array.from({ length: 16 }, (_, page) => page).filter((page) => bitmap[page >> 3]! & (1 << (page & 7)));

/** movb %al, 0x3000; hlt; incb 0x3000; hlt; movb %al, 0x5000; movb %al, 0x3000; hlt; hlt */
const WRITER = [0xa2, 0, 0x30, 0xf4, 0xfe, 6, 0, 0x30, 0xf4, 0xa2, 0, 0x50, 0xa2, 0, 0x30, 0xf4, 0xf4];

for (const [name, without] of [
  ['protected by hand', []],
  ['protected by reading', ['KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2']],
] as const)
  void t.test(`every page that the guest writes is noted, ${name}`, needsKvm, async (t) => {
    using real = openKvm();
    using kvm = injectFaults(real, { lacks: without });
    const { vm, vcpu } = rawVcpu(kvm, WRITER);
    using log = vm.openDirtyLog(0);
    t.equal(pages(log.take()).length, 16, 'all at first');
    vcpu.run(soon());
    t.same(pages(log.take()), [3]);
    t.same(pages(log.take()), [], 'once each');
    vcpu.run(soon());
    t.same(pages(log.take()), [3], 'noted again');
    vcpu.run(soon());
    t.same(pages(log.take()), [3, 5]);
    vcpu.run(soon());
    t.same(pages(log.take()), []);
  });

void t.test('a log that ended can be begun again, and outlive its VM', needsKvm, async (t) => {
  using kvm = openKvm();
  const { vm, vcpu } = rawVcpu(kvm, WRITER);
  vm.openDirtyLog(0)[Symbol.dispose]();
  vcpu.run(soon());
  using log = vm.openDirtyLog(0);
  t.equal(pages(log.take()).length, 16);
  vcpu.run(soon());
  t.same(pages(log.take()), [3]);
  vm[Symbol.dispose]();
});
