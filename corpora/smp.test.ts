import fc from 'fast-check';
import t from 'tap';
import { InputError } from './errors.js';
import { formatSmp, ONE_CPU, parseSmp } from './smp.js';

void t.test('the short form says all but the sockets', async (t) => {
  t.same(parseSmp('8c4t2'), { cpus: 8, maxcpus: 8, sockets: 1, dies: 1, modules: 1, cores: 4, threads: 2 });
  t.same(parseSmp('8,sockets=1,cores=4,threads=2'), parseSmp('8c4t2'));
  t.same(parseSmp('1'), ONE_CPU);
});

void t.test('missing sockets or cores are filled in as the machine type prefers', async (t) => {
  t.match(parseSmp('6'), { sockets: 6, cores: 1 });
  t.match(parseSmp('6', true), { sockets: 1, cores: 6 });
  t.match(parseSmp('cpus=4,maxcpus=8,threads=2'), { cpus: 4, maxcpus: 8, sockets: 4, threads: 2 });
});

void t.test('an impossible topology is refused', async (t) => {
  for (const bad of ['8c3t2', '4,sockets=1,cores=2,threads=1', 'cpus=8,maxcpus=4', '0', 'cores=x', '8,floors=2', '']) {
    t.throws(() => parseSmp(bad), InputError, bad);
  }
});

void t.test('what is written reads back as the same', async () => {
  const count = fc.integer({ min: 1, max: 5 });
  fc.assert(
    fc.property(fc.tuple(count, count, count, count, count), fc.boolean(), ([s, d, m, c, t], full) => {
      const all = s * d * m * c * t;
      const cpus = full ? all : Math.max(1, all - 1);
      const shape = { cpus, maxcpus: all, sockets: s, dies: d, modules: m, cores: c, threads: t };
      return JSON.stringify(parseSmp(formatSmp(shape))) === JSON.stringify(shape);
    }),
    { seed: 5 },
  );
});
