/** What must not outlive this process, children and folders: ended when it leaves, when a signal that nobody heeds ends it, and where it is killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { MachineError } from '../corpora/errors.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** How each is ended, by what the watcher is told of it: `-9 1234`, or the path of a folder. */
const endings = new Map<string, () => void>();

/** The child ends with us, by the signal given; it is forgotten once it has ended. */
export function endsWithUs(child: ChildProcess, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): void {
  if (child.pid === undefined) return;
  const entry = `${signal === 'SIGKILL' ? -9 : -15} ${child.pid}`;
  add(entry, () => void child.kill(signal));
  child.once('exit', () => drop(entry));
}

/** A new folder `<name>XXXXXX`, which goes with us unless `removeFolder` was called before. Throws `MachineError` `file-not-written`. */
export function makeFolder(name: string, parent: string = tmpdir()): string {
  try {
    const folder = mkdtempSync(resolve(parent, name));
    goesWithUs(folder);
    return folder;
  } catch (cause) {
    const why = `cannot make a folder in ${parent}: ${(cause as NodeJS.ErrnoException).code}`;
    throw new MachineError('file-not-written', why, { given: parent, cause });
  }
}

/** As one that `makeFolder` made. */
export function goesWithUs(folder: string): void {
  const path = resolve(folder);
  add(path, () => remove(path));
}

/** Removes a folder of ours with all that is in it. */
export function removeFolder(folder: string): void {
  remove(folder);
  drop(resolve(folder));
}

/** A process that is ending may still make or remove something there. */
const remove = (folder: string): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });

function add(entry: string, end: () => void): void {
  if (endings.size === 0) listen();
  endings.set(entry, end);
  if (watcher) tell(watcher, '+', entry);
  else startWatcher();
}

function drop(entry: string): void {
  if (!endings.delete(entry)) return;
  if (watcher) tell(watcher, '-', entry);
  if (endings.size === 0) listenNoMore();
}

function listen(): void {
  process.on('exit', endAll);
  // Before all others: those who listen once are still seen.
  for (const signal of SIGNALS) process.prependListener(signal, onSignal);
}

function listenNoMore(): void {
  process.off('exit', endAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

/** Folders last: the others may write there. */
function endAll(): void {
  const isFolder = (entry: string): boolean => entry.startsWith('/');
  for (const [entry, end] of endings) if (!isFolder(entry)) end();
  for (const [entry, end] of endings) if (isFolder(entry)) end();
  endings.clear();
}

/** Who heeds a signal ends in order what was begun; else it ends us as if it were not heard. */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  endAll();
  listenNoMore();
  process.kill(process.pid, signal);
}

/**
 * Reads what is added and taken back from a pipe that only we hold open. Its end is ours, however we ended: what is left then is ended. The kernel gives the
 * number of an ended child to nobody else before we have heard of its end, and say so here.
 */
const WATCHER = `
trap '' INT TERM HUP
while IFS= read -r line; do
  entry=\${line#?}
  case $line in
    +*) set -- "$@" "$entry" ;;
    *) for one do shift; [ "$one" = "$entry" ] || set -- "$@" "$one"; done ;;
  esac
done
for one do case $one in /*) ;; *) kill $one ;; esac; done
for one do case $one in /*) rm -rf "$one" || { sleep 1; rm -rf "$one"; } ;; esac; done`;

let watcher: Writable | null = null;
let watchedElsewhere = false;

/** The argument of a program whose process group is ended by whoever started it, once it has ended. */
export const WATCHED = '--watched';

/** No watcher of our own is needed: on an emulated host, which has no shell either. */
export function isWatched(): void {
  watchedElsewhere = true;
}

function startWatcher(): void {
  if (watchedElsewhere) return;
  // Of a session of its own, which no terminal interrupts; what it runs is found without our environment.
  const child = spawn('/bin/sh', ['-c', WATCHER], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    env: {},
    cwd: '/',
  });
  const { stdin } = child;
  watcher = stdin;
  const lost = (): void => {
    if (watcher === stdin) watcher = null;
  };
  child.once('error', lost).once('exit', lost);
  stdin.on('error', lost);
  // It waits for us, not we for it.
  child.unref();
  (stdin as Writable & { unref(): void }).unref();
  for (const entry of endings.keys()) tell(stdin, '+', entry);
}

/** Each on one line: a folder whose path has more than one is left where we are killed. */
function tell(to: Writable, sign: '+' | '-', entry: string): void {
  if (!entry.includes('\n')) to.write(`${sign}${entry}\n`);
}
