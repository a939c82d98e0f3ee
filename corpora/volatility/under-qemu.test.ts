import { join } from 'node:path';
import t from 'tap';
import { loadUnderQemu, shownUnderQemu, unmatchedUnderQemu } from './under-qemu.js';

const sound = {
  ...{ first: '0x000001a0', last: '0x000001a1', accelerators: ['tcg'], when: 'monitor', shows: '0x0000000000040001' },
  ...{ why: 'QEMU sets it', source: 'QEMU target/i386/cpu.c' },
};

const read = (t: { testdir: (files: Record<string, string>) => string }, entry: object) =>
  loadUnderQemu(
    join(t.testdir({ 'u.json': JSON.stringify({ schema: 'guest-abi/under-qemu/1', msrs: [entry] }) }), 'u.json'),
  );

void t.test('an entry is for its MSRs, its accelerators and its feature only', async (t) => {
  t.equal(shownUnderQemu(0x1a0, 'tcg', ['monitor']), 0x40001n);
  t.equal(shownUnderQemu(0x1a0, 'tcg', []), null);
  t.equal(shownUnderQemu(0x1a0, 'kvm', ['monitor']), null);
  t.equal(shownUnderQemu(0xce, 'tcg', []), 0n);
  t.equal(shownUnderQemu(0xce, 'kvm', []), null);
  t.equal(shownUnderQemu(0x491, 'tcg', ['vmx']), 0n);
  t.equal(shownUnderQemu(0x480, 'kvm', ['vmx']), null);
  t.equal(shownUnderQemu(0x210, 'kvm', []), null, 'beyond the variable ranges');
});

void t.test('an MSR that no CPU has, or that shows its value anyway, is found', async (t) => {
  const entries = read(t, sound);
  const cpu = (index: number, value: bigint, features = ['monitor']) => ({ features, msrs: [{ index, value }] });
  const both = [cpu(0x1a0, 1n), cpu(0x1a1, 1n)];
  t.same(unmatchedUnderQemu(entries, { tcg: both, kvm: [] }), []);
  for (const tcg of [[cpu(0x1a0, 1n)], [cpu(0x1a0, 1n), cpu(0x1a1, 0x40001n)], [cpu(0x1a0, 1n), cpu(0x1a1, 1n, [])]])
    t.match(unmatchedUnderQemu(entries, { tcg, kvm: both }), [/0x000001a1/]);
});

void t.test('an entry that says too little or something unknown is refused', async (t) => {
  t.equal(read(t, sound).length, 1);
  for (const change of [
    { source: '' },
    { why: undefined },
    { shows: '0xg' },
    { shows: 'anything' },
    { last: '0x00000000' },
    { accelerators: ['hvf'] },
    { accelerators: [] },
    { unless: 'monitor' },
  ])
    t.throws(() => read(t, { ...sound, ...change }), { code: 'bad-volatility' }, JSON.stringify(change));
});
