/** What must not outlive this process: ended when it leaves, and when a signal that nobody heeds ends it. SIGKILL leaves it behind. */

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const endings = new Set<() => void>();

/** Calls `end`, which must not wait, where this process ends first. What is returned takes that back. */
export function endsWithUs(end: () => void): () => void {
  if (endings.size === 0) listen();
  endings.add(end);
  return () => {
    if (endings.delete(end) && endings.size === 0) listenNoMore();
  };
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

function endAll(): void {
  for (const end of endings) end();
  endings.clear();
}

/** Who heeds a signal ends in order what was begun; else it ends us as if it were not heard. */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  endAll();
  listenNoMore();
  process.kill(process.pid, signal);
}
