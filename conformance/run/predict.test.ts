/** Predictions of what a QEMU on a host does otherwise than the reference monitor. */
import t from 'tap';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { onQemu } from '../subjects/qemu/on-qemu.js';
import { predict } from './predict.js';

const host = await RecordedHost.open('rich/6.12');
const OPTIONS = { allowAltered: false, forceFeatures: false };

const missing = (release: string, cpu: string): (string | null)[] => {
  const subject = { name: `qemu-${release}`, emulator: release, version: `${release}.0`, accel: 'kvm', binary: '' };
  const identity = resolve({ machine: 'pc-i440fx-4.0', cpu, smp: '8,cores=4,threads=2' });
  const { reasons } = predict({ identity, hosts: [onQemu(host, subject as never)] }, OPTIONS);
  return [...new Set(reasons.map(({ feature }) => feature))];
};

void t.test('QEMU 5.2 and 7.2 do not ask the host for what an SMP shape adds', async (t) => {
  for (const release of ['5.2', '7.2']) t.same(missing(release, 'qemu64'), []);
  t.same(missing('10.0', 'qemu64'), ['cmp-legacy']);
  t.same(missing('7.2', 'qemu64,+cmp-legacy'), ['cmp-legacy'], 'they ask for what the pair itself has');
});
