/** What a process leaves behind that is killed, without a chance to end anything: looked for among the processes and in the temporary folder. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { identityToJson } from '../corpora/identity.js';
import { shortFolder } from '../corpora/short-folder.js';
import { resolve } from '../reference-vmm/cpu-model/resolve.js';
import { processesMarked } from './cli/fixtures.js';
import { AgentClient } from './hosts/agent/client.js';
import { cachedQemu } from './packages/qemu-trees.js';

const moduleAt = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A Node of its own process group, whose processes are found by the mark. */
function startNode(temporary: string, mark: string, args: readonly string[]) {
  const env = { ...process.env, TMPDIR: temporary, GUEST_ABI_TEST: mark };
  const command = ['-u', 'NODE_OPTIONS', process.execPath, ...args];
  return spawn('env', command, { stdio: ['pipe', 'pipe', 'inherit'], detached: true, env });
}

/** Waits until it holds; what is asserted behind it says what did not come. */
async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 300 && !holds(); tries++) await sleep(50);
}

void t.test('a process that is killed takes its children and folders along, and not what was taken back', async (t) => {
  const temporary = shortFolder(t);
  const mark = `killed-${process.pid}`;
  const kept = join(temporary, 'kept');
  mkdirSync(kept);
  const script = `
    import { spawn } from 'node:child_process';
    import { once } from 'node:events';
    import { writeFileSync } from 'node:fs';
    import { endsWithUs, goesWithUs, makeFolder, removeFolder } from ${JSON.stringify(moduleAt('ends-with-us.js'))};
    const start = (...command) => { const child = spawn('env', command, { stdio: 'ignore' }); endsWithUs(child); return child; };
    const ended = start('true');
    start('sleep', '600');
    for (const name of ['a b', "it's $HOME ", '-rf', '*']) writeFileSync(makeFolder(name) + '/file', '');
    const removed = makeFolder('removed');
    goesWithUs(${JSON.stringify(kept)});
    removeFolder(${JSON.stringify(kept)});
    removeFolder(removed);
    await once(ended, 'exit');
    console.log(removed);
    setInterval(() => {}, 1000);`;
  const runner = startNode(temporary, mark, ['--input-type=module', '-e', script]);
  const removed = String((await once(runner.stdout, 'data'))[0]).trim();
  // Names that were ours are somebody else's now.
  for (const folder of [kept, removed]) mkdirSync(folder);
  writeFileSync(join(kept, 'file'), '');
  t.equal(processesMarked(mark).length, 2);
  // With all of its process group, as a terminal or a CI system kills.
  process.kill(-runner.pid!, 'SIGKILL');
  await until(() => processesMarked(mark).length === 0 && readdirSync(temporary).length === 2);
  t.same(processesMarked(mark), []);
  t.same(readdirSync(temporary).sort(), ['kept', removed.slice(temporary.length + 1)].sort());
  t.ok(existsSync(join(kept, 'file')));
});

const AGENT = moduleAt('hosts/agent/main.js');
const qemu = await cachedQemu('10.0');
const identity = structuredClone(identityToJson(resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' }))) as never;
const request = {
  ...{ identity, allowAltered: true, forceFeatures: true, msrs: [], fault: null },
  qemu: { binary: '10.0', accel: 'tcg' as const },
};

/** What an agent is amid when it is killed, and what then stands in the temporary folder. */
const AMID: readonly (readonly [what: string, ask: (agent: AgentClient, file: string) => Promise<unknown>])[] = [
  ['boot', (agent) => agent.call('boot', request)],
  [
    'savevm',
    async (agent, file) => {
      await agent.call('boot', request);
      return agent.call('save', { file, way: 'internal' });
    },
  ],
  [
    'a migration that does not come',
    async (agent, file) => {
      await agent.call('listen', { ...request, socket: file });
      return agent.call('received', {});
    },
  ],
];

for (const [what, ask] of AMID)
  void t.test(
    `an agent that is killed amid ${what} leaves no QEMU`,
    { skip: !qemu && 'QEMU 10.0 is not in the cache' },
    async (t) => {
      const temporary = shortFolder(t);
      const mark = `agent-${what}-${process.pid}`;
      const file = join(temporary, 'made', 'file');
      const child = startNode(temporary, mark, [AGENT]);
      const agent = await AgentClient.connect(child.stdout, child.stdin, 60_000);
      const answer = ask(agent, file);
      const runs = (): boolean => processesMarked(mark).some((words) => words.includes('-nodefaults'));
      await until(() => runs() && (what === 'boot' || existsSync(file)));
      t.ok(runs(), 'its QEMU was there');
      child.kill('SIGKILL');
      // A save may have been answered just before.
      await answer.catch((error: unknown) => t.match(error, { code: 'agent-gone' }));
      await until(() => processesMarked(mark).length === 0 && readdirSync(temporary).length === 0);
      t.same(processesMarked(mark), []);
      t.same(readdirSync(temporary), []);
    },
  );
