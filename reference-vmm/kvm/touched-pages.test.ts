import t from 'tap';
import { needsKvm, rawVcpu } from '../fixtures.js';
import { gpa } from './guest-memory.js';
import { openKvm } from './system.js';
import { touchedPages } from './touched-pages.js';

void t.test(
  'pages that the guest or the monitor wrote are told, and those that nobody touched are not',
  needsKvm,
  async (t) => {
    using kvm = openKvm();
    // movb %al, 0x3000; hlt
    const { memory, vcpu } = rawVcpu(kvm, [0xa2, 0, 0x30, 0xf4]);
    const [region] = memory.regions;
    const touched = (): number[] => {
      const bitmap = touchedPages(region!);
      return Array.from({ length: 16 }, (_, page) => page).filter((page) => bitmap[page >> 3]! & (1 << (page & 7)));
    };
    t.same(touched(), [1]);
    vcpu.run(performance.now() + 1000);
    t.ok(touched().includes(3));
    memory.at(gpa(0x7000), 1)[0] = 1;
    t.ok(touched().includes(7));
    t.notOk(touched().includes(9));
    t.same(touchedPages({ ...region!, hasImage: true }), Uint8Array.of(0xff, 0xff), 'behind an image all count');
  },
);
