/** The host's side of the switchboard: starts agents and bridges unix sockets as the runner asks, until its input ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { packageFile } from '../../../corpora/package-root.js';
import { WATCHED } from '../../ends-with-us.js';
import { eachLine } from '../../packages/lines.js';
import { interpretOnly, WITHOUT_COMPILERS } from '../agent/interpret.js';
import { bundlePath } from './bundle-path.js';
import { formatLine, parseLine, type SwitchboardHello, type SwitchboardLine } from './switchboard.js';

const AGENT = packageFile(bundlePath('agent'));

/** Characters of stderr kept for the runner's messages. */
const WORDS = 2000;

/** Where the lines of one conversation go, and how it ends. */
interface Peer {
  take(data: string): void;
  end(): void;
}

interpretOnly();

const peers = new Map<number, Peer>();

const say = (line: SwitchboardLine): void => void process.stdout.write(formatLine(line));

/** An agent that nobody talks to yet; its lines wait. Starting one takes over a second on an emulated CPU. */
interface IdleAgent {
  readonly child: ChildProcess;
  readonly waiting: string[];
  take: ((line: string) => void) | null;
  words: string;
  ended: boolean;
}

let spare: IdleAgent | null = null;

/** Agents at a time, spare included: each takes some 50 MiB of a lab host's memory. */
const MOST_AGENTS = 5;

/** A spare is started when the agent that took the last one has had this long to begin with, in milliseconds. */
const SPARE_DELAY = 1000;
let agents = 0;

function prepareSpare(): void {
  setTimeout(() => {
    if (agents < MOST_AGENTS) spare ??= startAgent();
  }, SPARE_DELAY);
}

function startAgent(): IdleAgent {
  const child = spawn(process.execPath, [AGENT, WITHOUT_COMPILERS, WATCHED], { stdio: 'pipe', detached: true });
  child.once('exit', () => endGroup(child.pid!));
  agents++;
  const agent: IdleAgent = { child, waiting: [], take: null, words: '', ended: false };
  eachLine(child.stdout, (line) => (agent.take ? agent.take(line) : agent.waiting.push(line)));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    agent.words = (agent.words + text).slice(-WORDS);
  });
  child.stdin.on('error', () => {});
  child.once('close', (status, signal) => {
    agents--;
    agent.ended = true;
    if (status !== 0) agent.words += `\n[agent ended: ${signal ?? `status ${status}`}]`;
  });
  return agent;
}

/** What an agent that was killed left running: a QEMU. */
function endGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // Nothing.
  }
}

function openAgent(number: number): Peer {
  const agent = spare && !spare.ended ? spare : startAgent();
  spare = null;
  prepareSpare();
  agent.take = (data) => say({ number, data });
  for (const line of agent.waiting.splice(0)) agent.take(line);
  const finish = (): void => {
    peers.delete(number);
    say({ number, end: { words: agent.words } });
    prepareSpare();
  };
  if (agent.ended) setImmediate(finish);
  else agent.child.once('close', finish);
  return {
    take: (data) => void agent.child.stdin!.write(`${data}\n`),
    end: () => void agent.child.kill('SIGKILL'),
  };
}

/** Bridges a connected socket; `end` of either side is passed on after all bytes before it. */
function bridge(number: number, socket: Socket): Peer {
  socket.on('data', (bytes) => say({ number, data: bytes.toString('base64') }));
  socket.on('error', () => {});
  socket.once('close', () => {
    peers.delete(number);
    say({ number, end: { words: '' } });
  });
  return { take: (data) => void socket.write(Buffer.from(data, 'base64')), end: () => socket.end() };
}

/** Waits for one connection on a socket path; what arrives before it is kept by the runner's side, which waits too. */
function listen(number: number, path: string): Peer {
  mkdirSync(dirname(path), { recursive: true });
  const held: string[] = [];
  let peer: Peer | null = null;
  const server = createServer((socket) => {
    server.close();
    peer = bridge(number, socket);
    for (const data of held.splice(0)) peer.take(data);
  });
  server.on('error', (error) => say({ number, end: { words: error.message } }));
  server.listen(path);
  const abandon = (): void => {
    server.close();
    peers.delete(number);
    say({ number, end: { words: '' } });
  };
  return { take: (data) => (peer ? peer.take(data) : held.push(data)), end: () => (peer ? peer.end() : abandon()) };
}

function handle(line: SwitchboardLine): void {
  const { number } = line;
  if ('data' in line) peers.get(number)?.take(line.data);
  else if ('end' in line) peers.get(number)?.end();
  else if (line.open.kind === 'agent') peers.set(number, openAgent(number));
  else if (line.open.kind === 'listen') peers.set(number, listen(number, line.open.socket));
  else peers.set(number, bridge(number, connect(line.open.socket)));
}

const hello: SwitchboardHello = { switchboard: 1, release: release() };
process.stdout.write(`${JSON.stringify(hello)}\n`);
spare = startAgent();
eachLine(process.stdin, (text) => handle(parseLine(text)));
process.stdin.once('end', () => process.exit(0));
