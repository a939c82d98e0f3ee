import { readdirSync } from 'node:fs';
import t from 'tap';
import { CONTRACT_SHAPES, type ContractFile, contractOf, freeze } from '../../corpora/contracts.js';
import { CpuidTable } from '../../corpora/cpuid.js';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { packageFile } from '../../corpora/package-root.js';
import { listMachines, listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { freezeMachines } from './freeze.js';

const definitions = builtInDefinitions();
const released = listMachines().filter(({ name }) => !definitions.machine(name).follows);
const contractsOf = (model: string): ContractFile => definitions.contracts(model) as ContractFile;

void t.test('every pair of every released machine type has a contract, and still resolves to it', async (t) => {
  const wrong: string[] = [];
  let pairs = 0;
  for (const { name: machine } of released) {
    for (const { name: model } of listModels(machine)) {
      const contract = contractOf(`${machine}/${model}`, '1');
      const { vcpus } = resolve({ machine, cpu: model });
      pairs += 1;
      if (JSON.stringify(contract?.vcpus) !== JSON.stringify(vcpus)) wrong.push(`${machine}/${model}`);
    }
  }
  t.same(wrong, []);
  t.ok(pairs > 13_000, `${pairs} pairs`);
});

void t.test('the larger shape holds every vCPU', async (t) => {
  const wrong: string[] = [];
  for (const machine of ['pc-1.0', 'pc-i440fx-2.4', 'pc-q35-6.0', 'pc-i440fx-9.1', 'pc-q35-11.1']) {
    for (const { name: model } of listModels(machine)) {
      const contract = contractOf(`${machine}/${model}`, '8c4t2');
      const { vcpus } = resolve({ machine, cpu: model, smp: '8c4t2' });
      if (JSON.stringify(contract?.vcpus) !== JSON.stringify(vcpus)) wrong.push(`${machine}/${model}`);
    }
  }
  t.same(wrong, []);
  t.equal(contractOf('pc-i440fx-2.4/Nehalem', '8c4t2')?.vcpus.length, 8);
});

void t.test('what is not frozen has no contract', async (t) => {
  t.equal(contractOf('pc-i440fx-2.4/Nehalem,+aes', '1'), undefined);
  t.equal(contractOf('pc-i440fx-2.4/Nehalem', '4'), undefined);
  t.equal(contractOf('pc-next/Nehalem', '1'), undefined);
  t.equal(contractOf('microvm/Nehalem', '1'), undefined);
});

void t.test('a pair that real software gave names it', async (t) => {
  t.match(contractOf('pc-i440fx-5.2/Nehalem', '1')?.evidence, /qemu 5\.2, KVM_SET_CPUID2/);
});

void t.test('the known disagreements between releases stand in the files with both values', async (t) => {
  const rowsOf = (model: string, id: string) =>
    contractsOf(model).disagreements.flatMap((one) => (one.id === id ? one.rows : []));
  t.ok(rowsOf('qemu64', 'qemu64-v1').some(({ leaf, eax }) => leaf === '0x00000001' && eax === '0x00060fb1'));
  t.match(contractOf('pc-i440fx-2.4/qemu64-v1', '1')?.vcpus[0]?.cpuid.get(1), { eax: 0x663 });
  for (const model of ['n270', 'coreduo']) {
    const rows = rowsOf(model, 'phys-bits-by-pse36-only');
    t.ok(
      rows.some(({ leaf, eax }) => leaf === '0x80000008' && eax === '0x00000024'),
      model,
    );
    t.match(contractOf(`pc-i440fx-2.4/${model}`, '1')?.vcpus[0]?.cpuid.get(0x80000008), { eax: 0x20 });
  }
  const others = readdirSync(packageFile('corpora/contracts'))
    .map((file) => file.replace('.json', ''))
    .filter((model) => contractsOf(model).disagreements.length);
  t.same(others.sort(), ['coreduo', 'n270', 'qemu64'], 'and no others are known');
});

void t.test('freezing again changes nothing', async (t) => {
  const again = freezeMachines(['pc-i440fx-2.4'], definitions, []);
  for (const [model, file] of again) t.same(file, contractsOf(model), model);
});

void t.test('a contract never changes; a new machine type appends', async (t) => {
  const file = contractsOf('Nehalem');
  const { vcpus } = resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' });
  const changed = vcpus.map((vcpu) => ({
    ...vcpu,
    cpuid: new CpuidTable(vcpu.cpuid.rows.map((row) => (row.leaf === 1 ? { ...row, ecx: row.ecx ^ 1 } : row))),
  }));
  const each = <T>(value: T) =>
    Object.fromEntries(CONTRACT_SHAPES.map((shape) => [shape, value])) as Record<'1' | '8c4t2', T>;
  const pair = { model: 'Nehalem', machine: 'pc-i440fx-2.4', shapes: each(changed), evidence: each([] as string[]) };
  t.throws(() => freeze(file, [pair]), { code: 'contract-exists' });
  const added = freeze(file, [{ ...pair, machine: 'pc-i440fx-99.0' }]);
  t.equal(added.tables.length, file.tables.length + 1);
  t.same(added.tables.slice(0, -1), file.tables);
});
