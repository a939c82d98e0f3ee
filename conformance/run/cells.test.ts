/** The main job on this machine's KVM with real agents: every scenario, kernels that do wrong, agents that are killed or silent. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { CpuIdentity } from '../../corpora/identity.js';
import { parseSmp } from '../../corpora/smp.js';
import { type CellResult, type Reason, SCENARIOS, type Scenario } from '../../corpora/verdict.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { isBreak } from '../../reports/result-log.js';
import type { AgentClient } from '../hosts/agent/client.js';
import { FAULTY_MSR, type Fault } from '../hosts/agent/faults.js';
import { localSocket } from '../hosts/bridge.js';
import { openChildAgent } from '../hosts/child-agent.js';
import type { AgentSession, Host } from '../hosts/host.js';
import { ProcessHost } from '../hosts/process-host.js';
import { cellsOf } from './cell.js';
import { control } from './control.js';
import { type RunOptions, runCell, runCells } from './runner.js';

const STRICT: RunOptions = { allowAltered: false, forceFeatures: false, jobs: 2 };
const OBSERVE: RunOptions = { allowAltered: true, forceFeatures: true, jobs: 2 };

const identityOf = (pair: string, smp = '1'): CpuIdentity => {
  const [machine = '', cpu = ''] = pair.split('/');
  return resolve({ machine, cpu, smp: parseSmp(smp) });
};
/** One that nearly every host offers, one with host-dependent features, one of a level below leaf 7. */
const PAIRS = ['pc-i440fx-1.6/kvm64', 'pc-i440fx-2.4/Haswell', 'pc-1.0/Nehalem'];

/** Without the loader that the test runner puts into every Node process. */
const AGENT = [
  'env',
  '-u',
  'NODE_OPTIONS',
  process.execPath,
  fileURLToPath(import.meta.resolve('../hosts/agent/main.js')),
];

/** Agents that live for the whole file. Temporary files of cells stand in a folder of our own, so that what stays is seen. */
const folder = mkdtempSync(join(tmpdir(), 'cells-'));
process.env.TMPDIR = folder;
let host: ProcessHost | undefined;
const local = async (): Promise<ProcessHost> => {
  host ??= await ProcessHost.start({ id: 'local', openAgent: () => openChildAgent(AGENT, localSocket) });
  return host;
};
t.teardown(async () => {
  await host?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

async function run(pairs: readonly string[], scenarios: readonly Scenario[], options: RunOptions, on: Host, smp = '1') {
  const cells = cellsOf(
    pairs.map((pair) => ({ identity: identityOf(pair, smp), smp })),
    [on],
    scenarios,
  );
  const results: CellResult[] = [];
  for await (const { result } of runCells(cells, options)) results.push(result);
  return results;
}

const say = ({ pair, scenario, verdict, reasons }: CellResult): string =>
  `${pair} ${scenario}: ${verdict}${reasons.length ? `: ${reasons[0]!.message}` : ''}`;

void t.test('every scenario, observed: identical or altered, exactly as predicted', needsKvm, async (t) => {
  const results = await run(PAIRS, SCENARIOS, OBSERVE, await local());
  t.equal(results.length, PAIRS.length * SCENARIOS.length);
  for (const result of results) {
    t.match(result.verdict, /identical|altered/, say(result));
    t.notOk(isBreak(result), say(result));
  }
  t.same(readdirSync(folder), [], 'no temporary files stay');
});

void t.test(
  'every scenario with the topology of the contracts, each vCPU judged by its own table',
  needsKvm,
  async (t) => {
    const results = await run(['pc-i440fx-2.4/Nehalem'], SCENARIOS, OBSERVE, await local(), '8c4t2');
    t.equal(results.length, SCENARIOS.length);
    for (const result of results) {
      t.match(result, { verdict: /identical|altered/, evidence: /qemu/ }, say(result));
      t.notOk(isBreak(result), say(result));
    }
  },
);

void t.test('several vCPUs where there can be none are refused, as predicted', needsKvm, async (t) => {
  for (const [pair, smp, code] of [
    ['pc-i440fx-2.4/486', '2', 'smp-without-apic'],
    ['pc-i440fx-2.4/Nehalem', '17', 'too-many-vcpus'],
  ] as const) {
    const [result] = await run([pair], ['boot'], OBSERVE, await local(), smp);
    t.match(result, { verdict: 'refused', predicted: 'refused', reasons: [{ code }] });
  }
});

void t.test('without allowances: what the host cannot give exactly is refused before it runs', needsKvm, async (t) => {
  for (const result of await run(PAIRS, ['boot', 'migrate'], STRICT, await local())) {
    t.match(result.verdict, /identical|refused/, say(result));
    t.notOk(isBreak(result), say(result));
    t.equal(result.reasons.length > 0, result.verdict === 'refused');
  }
});

void t.test('the control: every planted change is caught', needsKvm, async (t) => {
  for (const { plant, caught, finding } of await control(await local(), identityOf(PAIRS[0]!)))
    t.ok(caught, `${plant}: ${finding}`);
});

const MSR = `0x${FAULTY_MSR.toString(16)}`;
interface FaultEnd {
  readonly verdict: string;
  readonly place: Partial<Reason>;
  /** Default: boot. */
  readonly scenario?: Scenario;
}

/**
 * What each fault of a kernel must end in, and the place that a reason must name. `msr-not-kept` needs a value that the guest wrote
 * and that travels: the control above plays it. `vcpu-never-woken` hangs for as long as an agent waits: reproduce.test plays it.
 */
const FAULTS: Readonly<Record<Exclude<Fault, 'msr-not-kept' | 'vcpu-never-woken'>, FaultEnd>> = {
  'cpuid-shown-otherwise': {
    verdict: 'changed',
    place: { code: 'cpuid-changed', leaf: '0x00000001', register: 'eax' },
  },
  'cpuid-altered': { verdict: 'refused', place: { code: 'cpuid-altered', leaf: '0x00000001', register: 'eax' } },
  'msr-refused': { verdict: 'refused', place: { code: 'msr-not-settable', msr: MSR } },
  'register-not-kept': {
    ...{ verdict: 'dropped', scenario: 'migrate' },
    place: { code: 'register-changed', step: 'hop-1', message: 'CR4: was' },
  },
  'guest-lost': { verdict: 'crashed', scenario: 'snapshot-restore', place: { code: 'crashed', step: 'restore' } },
  'guest-restarts': {
    ...{ verdict: 'crashed', scenario: 'snapshot-restore' },
    place: { code: 'crashed', step: 'restore', message: 'began anew unasked (triple-fault): KVM_EXIT_SHUTDOWN' },
  },
};

for (const [fault, { verdict, place, scenario = 'boot' }] of Object.entries(FAULTS))
  void t.test(`a kernel fault, ${fault}: the right verdict, at the right place`, needsKvm, async (t) => {
    // An altered table is refused; every other fault must also be caught where alterations are allowed.
    const options = fault === 'cpuid-altered' ? STRICT : OBSERVE;
    const hosts = scenario === 'migrate' ? [await local(), await local()] : [await local()];
    const cell = { identity: identityOf(PAIRS[0]!), smp: '1', hosts, scenario };
    const { result } = await runCell(cell, { ...options, fault: fault as Fault });
    t.equal(result.verdict, verdict, say(result));
    t.match(
      result.reasons.filter(({ code }) => code === place.code),
      [place],
    );
  });

/** The processes that we started and that run still. */
const children = (): number[] =>
  readdirSync('/proc/self/task').flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );

/** `on` with fresh agents; `before` comes ahead of each request and may shorten its deadline. */
function watched(on: Host, before: (op: string) => number | undefined): Host {
  const wrap = async (session: Promise<AgentSession>): Promise<AgentSession> => {
    const { agent, socket, [Symbol.asyncDispose]: end } = await session;
    const call: AgentClient['call'] = (op, params) => {
      const deadlineMs = before(op);
      return agent.call(op, params, deadlineMs);
    };
    return { agent: { call } as AgentClient, socket, [Symbol.asyncDispose]: end };
  };
  return {
    summary: on.summary,
    capabilities: on.capabilities,
    concurrent: true,
    warm: () => wrap(on.open()),
    open: () => wrap(on.open()),
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Runs a cell in which `signal` hits the newest agent ahead of the first request `at`. */
async function struck(signal: NodeJS.Signals, at: string, scenario: Scenario, deadlineMs?: number) {
  const on = await local();
  const before = new Set(children());
  const ours = (): number[] => children().filter((pid) => !before.has(pid));
  let sent = false;
  const host = watched(on, (op) => {
    if (op !== at || sent) return undefined;
    sent = true;
    process.kill(ours().at(-1)!, signal);
    return deadlineMs;
  });
  const start = performance.now();
  const hosts = scenario === 'migrate' ? [host, host] : [host];
  const { result } = await runCell({ identity: identityOf(PAIRS[0]!), smp: '1', hosts, scenario }, OBSERVE);
  return { result, sent, left: ours(), took: performance.now() - start };
}

void t.test('an agent that is killed under a cell: crashed, and nothing stays', needsKvm, async (t) => {
  for (const [at, scenario] of [
    ['command', 'reset'],
    ['save', 'snapshot-restore'],
    ['restore', 'snapshot-restore'],
    ['received', 'migrate'],
  ] as const) {
    const { result, sent, left } = await struck('SIGKILL', at, scenario);
    t.ok(sent, `${scenario} has a request '${at}'`);
    t.equal(result.verdict, 'crashed', `${at}: ${say(result)}`);
    t.match(result.reasons[0], { layer: 'harness', message: /host ended during|stream broke/ });
    t.ok(isBreak(result));
    t.same(left, [], at);
  }
  t.same(readdirSync(folder), []);
});

void t.test('an agent that is stopped under a cell: hung, in bounded time', needsKvm, async (t) => {
  const { result, left, took } = await struck('SIGSTOP', 'command', 'reset', 1500);
  t.equal(result.verdict, 'hung', say(result));
  t.match(result.reasons[0]!.message, /no answer to 'command' within 1500 ms/);
  t.ok(took < 15_000, `${took} ms`);
  t.same(left, []);
});
