/** MSR contracts: they hold for today's definitions, grow only, and an edit that changes an MSR is named. */
import t from 'tap';
import { contractOf } from '../../corpora/contracts.js';
import { builtInDefinitions, Definitions } from '../../corpora/definitions.js';
import { freezeMsrs, type MsrContractFile, msrContractOf, msrEffectsOf } from '../../corpora/msr-contracts.js';
import { listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { brokenMsrs } from '../run/expectation.js';
import { freezeMsrsOf } from './freeze-msrs.js';

const MACHINES = ['pc-1.0', 'pc-i440fx-2.4', 'pc-q35-5.2', 'pc-i440fx-11.1'];

void t.test('every pair that has a contract has one of its MSRs, and resolves to it', async (t) => {
  const broken: string[] = [];
  let pairs = 0;
  for (const machine of MACHINES)
    for (const { name } of listModels(machine)) {
      const pair = `${machine}/${name}`;
      if (!contractOf(pair, '1')) continue;
      pairs++;
      if (!msrContractOf(pair) || !msrEffectsOf(pair)) broken.push(`${pair} has none`);
      broken.push(...brokenMsrs(resolve({ machine, cpu: name })).map(({ message }) => `${pair}: ${message}`));
    }
  t.same(broken, []);
  t.ok(pairs > 200, `${pairs} pairs`);
});

const empty: MsrContractFile = { schema: 'guest-abi/msr-contract/1', model: 'M', tables: [] };
const pair = { model: 'M', machine: 'pc-1', effects: [{ index: 1, effect: 'faults' }] };

void t.test('a file gains pairs and tables; a pair never gets other MSRs', async (t) => {
  const msrs = [1, 2, 3, 7].map((index) => ({ index, value: 0n })).concat({ index: 5, value: 9n });
  const once = freezeMsrs(empty, [{ ...pair, msrs }]);
  t.match(once.tables, [
    {
      pairs: { M: ['pc-1'] },
      values: {
        '0x0000000000000000': '0x00000001-0x00000003 0x00000007',
        '0x0000000000000009': '0x00000005',
      },
    },
  ]);
  t.same(freezeMsrs(once, [{ ...pair, msrs }]), once, 'again');
  t.match(freezeMsrs(once, [{ ...pair, machine: 'pc-2', msrs }]).tables, [{ pairs: { M: ['pc-1', 'pc-2'] } }]);
  t.equal(freezeMsrs(once, [{ ...pair, machine: 'pc-2', msrs: msrs.slice(1) }]).tables.length, 2);
  t.throws(() => freezeMsrs(once, [{ ...pair, msrs: msrs.slice(1) }]), { code: 'contract-exists' });
  const other = [{ index: 1, effect: 'keeps 0x0000000000000001' }];
  t.throws(() => freezeMsrs(once, [{ ...pair, msrs, effects: other }]), { code: 'contract-exists' });
  const { writes, ...older } = once;
  t.same(
    freezeMsrs(older, [{ ...pair, msrs }]),
    once,
    'a file of before gains effects, and nothing else of it changes',
  );
  t.same(writes, [{ pairs: { M: ['pc-1'] }, effects: { faults: '0x00000001' } }]);
});

void t.test('what is frozen reads back; a machine type that is frozen already changes nothing', async (t) => {
  const frozen = freezeMsrsOf(['pc-1.0'], builtInDefinitions());
  t.ok(frozen.size > 30);
  for (const [model, file] of frozen) t.same(file, builtInDefinitions().msrContracts(model), model);
});

void t.test('a value, an MSR too many and one too few are named; overrides have no contract', async (t) => {
  const identity = resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' });
  const other = (msrs: typeof identity.msrs) => brokenMsrs({ ...identity, msrs });
  const pat = identity.msrs.findIndex(({ index }) => index === 0x277);
  const changed = identity.msrs.with(pat, { index: 0x277, value: 1n });
  t.match(other(changed), [{ msr: '0x00000277', guest: '0x0000000000000001', requirement: 'ABI-DEF-001' }]);
  t.match(other(identity.msrs.toSpliced(pat, 1)), [{ msr: '0x00000277', guest: '#GP' }]);
  t.match(other([...identity.msrs, { index: 0x345, value: 0n }]), [{ msr: '0x00000345', contract: '#GP' }]);
  t.same(msrContractOf('pc-i440fx-2.4/Nehalem,+aes'), undefined);
  t.same(msrContractOf('pc-next/Nehalem', new Definitions()), undefined);
});

void t.test('an edit that changes what a write does is named', async (t) => {
  const identity = resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' });
  const files = new Definitions();
  const put = (effect: string) => {
    const file = structuredClone(builtInDefinitions().msrContracts('Nehalem')) as MsrContractFile;
    const writes = file.writes!.map(({ pairs, effects }) => ({
      pairs,
      effects: { ...without(effects, '0x00000277'), [effect]: '0x00000277' },
    }));
    files.put('msr-contracts/Nehalem.json', { ...file, writes });
    return brokenMsrs(identity, files);
  };
  t.match(put('keeps 0x0000000000000007'), [
    {
      code: 'definition-msr-changed',
      msr: '0x00000277',
      contract: 'keeps 0x0000000000000007',
      guest: /^keeps 0xf{16}, form pat$/,
    },
  ]);
  t.match(put('faults')[0], { message: /IA32_PAT\): a write contract faults/ });
});

/** Effects of which one MSR, alone in its run, is taken out. */
const without = (effects: Readonly<Record<string, string>>, msr: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(effects)
      .map(
        ([effect, runs]) =>
          [
            effect,
            runs
              .split(' ')
              .filter((run) => run !== msr)
              .join(' '),
          ] as const,
      )
      .filter(([, runs]) => runs !== ''),
  );
