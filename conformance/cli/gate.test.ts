import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { packageFile } from '../../corpora/package-root.js';
import { ForeignRepository } from '../gate/foreign-repository.js';
import { runCli } from './run-cli.js';

t.setTimeout(600_000);
const repository = new ForeignRepository(t.testdir());
t.beforeEach(() => repository.reset());
const gate = (...args: string[]) => runCli(['gate', '--corpora', 'abi', ...args], { cwd: repository.root });

const broken = (): void => repository.edit('cpu-models/intel/Penryn.json', '"stepping": 3', '"stepping": 4');

void t.test('text: what was edited, what guests see, what it means, what mends it', async (t) => {
  broken();
  const { code, stdout } = await gate('--cpu', 'Penryn*');
  t.equal(code, 1);
  t.match(
    stdout,
    /^BROKEN {2}Penryn, Penryn-v1 on pc-1\.0 to pc-i440fx-11\.1, pc-q35-2\.4 to pc-q35-11\.1 \(162 pairs\)$/m,
  );
  t.match(stdout, /^ {2}edit {3}abi\/cpu-models\/intel\/Penryn\.json:\d+: stepping 3 -> 4$/m);
  t.match(stdout, /^ {2}guest {2}CPUID 1\.EAX: contract 0x000006\w3, definition shows 0x000006\w4$/m);
  t.match(stdout, /\{ "Penryn-x86_64-cpu", "stepping", "3" \} in pc-i440fx-11\.1/);
  t.match(stdout, /^BROKEN: 0 released pairs unchanged, 162 broken, 2 new$/m);
  t.ok(stdout.split('\n').length < 20, 'short');
});

void t.test('--fix: the patch alone on stdout; applied, the gate passes', async (t) => {
  broken();
  const { code, stdout, stderr } = await gate('--cpu', 'Penryn*', '--fix');
  t.equal(code, 1);
  t.match(stderr, /BROKEN/);
  execFileSync('git', ['apply', '-'], { cwd: repository.root, input: stdout });
  t.equal((await gate('--cpu', 'Penryn*')).code, 0);
});

void t.test('JSON, and the formats of CI systems name the file and line', async (t) => {
  broken();
  const args = ['--cpu', 'Penryn*'];
  const json = JSON.parse((await gate(...args, '--json')).stdout) as Record<string, unknown>;
  t.match(json, { schema: 'guest-abi/gate/1', conclusion: 'broken', totals: { broken: 162 } });
  t.match(
    (await gate(...args, '--format', 'github')).stdout,
    /^::error file=abi\/cpu-models\/intel\/Penryn\.json,line=\d+,/m,
  );
  t.match(
    (await gate(...args, '--format', 'junit')).stdout,
    /<testsuites name="guest-abi gate" tests="1" failures="1"/,
  );
  const sarif = JSON.parse((await gate(...args, '--format', 'sarif')).stdout) as object;
  t.match(sarif, { runs: [{ results: [{ ruleId: 'ABI-DEF-001' }] }] });
});

void t.test('affected pairs are booted where a host is given', async (t) => {
  broken();
  const { code, stdout } = await gate('--cpu', 'Penryn*', '--host', 'recorded:EPYC-Genoa/6.12');
  t.equal(code, 1);
  t.match(stdout, /^booted {2}pc-\S+\/Penryn on recorded:EPYC-Genoa\S+: (changed: CPUID 1\.EAX|refused)/m);
});

void t.test('bad input: one line, exit code 2', async (t) => {
  const cases: [string[], RegExp][] = [
    [['--base', 'git:mian'], /has no commit 'mian'; nearest: main/],
    [['--base', '--help-me'], /no commit|argument/],
    [['--machine', 'pc-i440fx-2.33'], /unknown machine type 'pc-i440fx-2\.33'; nearest: pc-i440fx-2\.3/],
    [['--head', 'qemu'], /--head qemu: give worktree, qemu:BINARY, libvirt:DIR or firecracker:FILE/],
    [['--base', 'qemu:/bin/true'], /cannot be compared/],
    [['--base', 'qemu:/bin/true', '--head', 'qemu:/bin/true'], /\/bin\/true is not a QEMU/],
    [['--head', 'libvirt:/nowhere'], /no such folder/],
    [['--head', 'firecracker:/nowhere.json', '--host', 'recorded:EPYC/6.12'], /cannot read \/nowhere\.json: ENOENT/],
    [['--format', 'pdf'], /pdf/],
  ];
  for (const [args, wanted] of cases) {
    const { code, stdout, stderr } = await gate(...args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, wanted);
    t.equal(stdout, '');
    t.equal(stderr.trim().split('\n').length, 1);
  }
  repository.put('cpu-models/intel/Penryn.json', '{');
  const damaged = await gate('--cpu', 'Penryn*');
  t.equal(damaged.code, 2);
  t.match(damaged.stderr, /abi\/cpu-models\/intel\/Penryn\.json: /);
});

void t.test('a folder in no repository', async (t) => {
  const folder = t.testdir();
  cpSync(repository.corpora, join(folder, 'abi'), { recursive: true });
  const env = { GIT_CEILING_DIRECTORIES: folder };
  const { code, stderr } = await runCli(['gate', '--corpora', join(folder, 'abi')], { cwd: folder, env });
  t.equal(code, 2);
  t.match(stderr, /is in no git repository that can be read/);
});

void t.test('a Firecracker template: every open bit in which the hosts differ', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'T.json');
  const hosts = ['--host', 'recorded:EPYC/6.12', '--host', 'recorded:EPYC/5.10'];
  const row = (leaf: string, subleaf: string, register: string, bitmap: string) => ({
    ...{ leaf, subleaf, flags: subleaf === '0x0' && leaf !== '0x7' ? 0 : 1 },
    modifiers: [{ register, bitmap }],
  });
  const put = (...cpuid_modifiers: object[]) =>
    writeFileSync(file, JSON.stringify({ kvm_capabilities: [], cpuid_modifiers, msr_modifiers: [] }));
  put(row('0x7', '0x0', 'ebx', '0b0'));
  const open = await runCli(['gate', '--head', `firecracker:${file}`, ...hosts]);
  t.equal(open.code, 1, open.stderr);
  t.match(open.stdout, /8000000A\.EDX\[5\] \(vmcb-clean\): open, and 1 on/);
  t.match(open.stdout, /1 on recorded:EPYC\/6\.12\S+; 0 on recorded:EPYC\/5\.10/);
  const everything = ['0x80000005', '0x80000008', '0x80000021', '0x8000000a'].map((leaf) => ({
    ...{ leaf, subleaf: '0x0', flags: 0 },
    modifiers: ['eax', 'ebx', 'ecx', 'edx'].map((register) => ({ register, bitmap: `0b${'0'.repeat(32)}` })),
  }));
  put(...everything);
  const pinned = await runCli(['gate', '--head', `firecracker:${file}`, ...hosts]);
  t.notMatch(pinned.stdout, /CPUID 8000000A\.EDX/);
  put(row('0x29', '0x0', 'eax', '0b1'));
  const twice = [...hosts.slice(0, 2), ...hosts.slice(0, 2)];
  const itself = await runCli(['gate', '--head', `firecracker:${file}`, ...twice]);
  t.match(itself, { code: 2, stdout: '', stderr: /give two --host or more, each another/ });
  const lacking = await runCli(['gate', '--head', `firecracker:${file}`, ...hosts, '-v']);
  t.match(lacking.stdout, /CPUID 29: the template modifies it, and recorded:EPYC\S+ does not have it/);
  const capable = { kvm_capabilities: ['!56'], cpuid_modifiers: [], msr_modifiers: [] };
  writeFileSync(file, JSON.stringify(capable));
  const noted = await runCli(['gate', '--head', `firecracker:${file}`, ...hosts]);
  t.match(noted.stdout, /kvm_capabilities are not compared with the hosts': !56/);
  writeFileSync(file, '[]');
  t.equal((await runCli(['gate', '--head', `firecracker:${file}`, ...hosts])).code, 2);
  t.match((await runCli(['gate', '--head', `firecracker:${file}`, '--host', 'recorded:EPYC/6.12'])).stderr, /.+/);
});

void t.test('a CPU map of libvirt: against ours, and against what it was', async (t) => {
  const folder = t.testdir({
    'index.xml': `<cpus><arch name='x86'><include filename='x86_features.xml'/><group name='Intel CPU models'><include filename='x86_Tiny.xml'/></group></arch></cpus>`,
    'x86_features.xml': `<cpus><feature name='sse4.2'><cpuid eax_in='0x01' ecx='0x00100000'/></feature><feature name='aes'><cpuid eax_in='0x01' ecx='0x02000000'/></feature></cpus>`,
    'x86_Tiny.xml': `<cpus><model name='Nehalem'><feature name='sse4.2'/></model></cpus>`,
  });
  const ours = await runCli(['gate', '--head', `libvirt:${folder}`]);
  t.equal(ours.code, 0, ours.stdout);
  execFileSync('git', ['init', '-q', '-b', 'main'], { cwd: folder });
  execFileSync('git', ['add', '-A'], { cwd: folder });
  execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', 'commit', '-qm', 'map'], { cwd: folder });
  const model = join(folder, 'x86_Tiny.xml');
  writeFileSync(
    model,
    readFileSync(model, 'utf8').replace("<feature name='sse4.2'/>", "<feature name='sse4.2'/><feature name='aes'/>"),
  );
  for (const args of [[], ['--base', 'main']]) {
    const { code, stdout } = await runCli(['gate', '--head', `libvirt:${folder}`, ...args]);
    t.equal(code, 1);
    t.match(stdout, /CPUID 1\.ECX\[25\] \(aes\): /);
    t.match(stdout, /take out <feature name='aes'\/>/);
  }
  // What libvirt declares as no change of guests is told apart, by name.
  for (const [change, note] of [
    ["<feature name='sse4.2'/><feature name='aes' added='yes'/>", /1 models declare features as added='yes'.*: aes/],
    ["<feature name='sse4.2' removed='yes'/>", /1 models declare features as removed='yes'.*: sse4\.2/],
  ] as const) {
    writeFileSync(model, `<cpus><model name='Nehalem'>${change}</model></cpus>`);
    const { code, stdout } = await runCli(['gate', '--base', 'main', '--head', `libvirt:${folder}`]);
    t.equal(code, 0, stdout);
    t.match(stdout, note);
  }
});

void t.test('our own definitions are as the last commit has them, or say what changed', async (t) => {
  try {
    execFileSync('git', ['rev-parse', '--show-toplevel'], { cwd: packageFile('corpora'), stdio: 'ignore' });
  } catch {
    return t.plan(0, 'not a git checkout');
  }
  const { code, stdout, stderr } = await runCli(['gate', '--base', 'HEAD']);
  t.equal(code, 0, stdout + stderr);
  t.match(stdout, /Holds: \d{5} released pairs unchanged, 0 broken/);
});
