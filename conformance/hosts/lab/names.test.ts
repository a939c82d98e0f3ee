/** Tests of lab host names and of the bound on boots at a time. */
import t from 'tap';
import type { LabKernel } from './kernels.js';
import { chooseLabHosts, labHostId } from './names.js';
import { turns } from './pool.js';

const kernel = (id: string): LabKernel => ({
  id,
  release: id,
  origin: 'trixie',
  version: null,
  vmlinuz: '',
  modules: '',
});
const KERNELS = ['5.10.0-46', '6.1.0-56', '6.12.94+deb13', '6.12.107+deb13', '7.3.4+deb13'].map(kernel);
const ids = (name: string): string[] => chooseLabHosts(name, KERNELS).map(labHostId);

void t.test('a short name takes the newest kernel that begins so, at a separator', async (t) => {
  t.same(ids('6.12'), ['lab:6.12.107+deb13/EPYC']);
  t.same(ids('6.1'), ['lab:6.1.0-56/EPYC'], '6.1 is not the beginning of 6.12');
  t.same(ids('6.12.94'), ['lab:6.12.94+deb13/EPYC']);
  t.same(ids('6.12.94+deb13/EPYC-Genoa'), ['lab:6.12.94+deb13/EPYC-Genoa']);
  t.equal(ids('*/rich').length, KERNELS.length);
});

void t.test('names that fit nothing say what there is', async (t) => {
  t.throws(() => ids('6.13'), { code: 'unknown-lab-kernel', message: /6\.12\.107/ });
  t.throws(() => ids('6.12/Nehalem'), { code: 'unknown-lab-cpu' });
  t.throws(() => ids(''), { code: 'bad-lab-host' });
  t.throws(() => ids('a/b/c'), { code: 'bad-lab-host' });
  t.throws(() => chooseLabHosts('6.12', []), { code: 'lab-empty', message: /lab setup/ });
});

void t.test('no more than the given number work at a time, and a failure gives its turn on', async (t) => {
  const takeTurn = turns(2);
  let now = 0;
  let most = 0;
  const works = [1, 2, 3, 4, 5].map((i) =>
    takeTurn(async () => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 5));
      now--;
      if (i === 2) throw new Error('failed');
      return i;
    }),
  );
  const results = await Promise.allSettled(works);
  t.equal(most, 2);
  t.same(
    results.map((result) => result.status === 'fulfilled' && result.value),
    [1, false, 3, 4, 5],
  );
});
