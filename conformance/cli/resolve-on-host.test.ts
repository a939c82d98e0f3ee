import t from 'tap';
import { runCli } from './run-cli.js';

t.setTimeout(300_000);

const at = (cpu: string, ...more: string[]) =>
  runCli(['resolve', '--machine', 'pc-i440fx-2.3', '--cpu', cpu, '--host', 'recorded:EPYC/6.12', ...more]);

for (const model of ['host', 'max', 'best']) {
  void t.test(`${model} is told to follow its host, in text and in JSON`, async (t) => {
    const { code, stderr } = await at(model);
    t.equal(code, 0);
    t.match(stderr, /not migration-safe/);
    const json = await at(model, '--json');
    t.match(JSON.parse(json.stdout), { migrationSafe: false });
  });
}

void t.test('a named model that the host has whole is migration-safe', async (t) => {
  const { stdout, stderr } = await at('qemu64', '--json');
  t.match(JSON.parse(stdout), { migrationSafe: true, unavailableFeatures: [], filteredFeatures: [] });
  t.equal(stderr, '');
});

void t.test("enforce refuses with what is missing, in QEMU's shapes too", async (t) => {
  const { code, stdout } = await at('Westmere,enforce', '--json');
  t.equal(code, 3);
  t.match(JSON.parse(stdout), {
    refused: true,
    reasons: [{ leaf: '0x00000001', register: 'edx', bit: 1, feature: 'vme', layer: 'host-cpu' }],
    unavailableFeatures: ['vme'],
    filteredFeatures: [{ 'cpuid-input-eax': 1, 'cpuid-register': 'EDX', features: 2 }],
  });
});

void t.test('a glob gives all captures of the package that it fits', async (t) => {
  const { code, stdout } = await runCli(['host', 'baseline', 'recorded:EPYC/*', '--json']);
  t.equal(code, 0);
  const { hosts } = JSON.parse(stdout) as { hosts: string[] };
  t.ok(hosts.length > 3 && hosts.every((id) => id.startsWith('recorded:EPYC/')));
  t.equal((await runCli(['host', 'baseline', 'recorded:Foo*'])).code, 2);
});
