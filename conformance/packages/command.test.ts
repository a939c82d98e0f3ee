/** A program of the system that does not end. */
import t from 'tap';
import { runCommand } from './command.js';

void t.test('it is late, whatever its own children do with its output', async (t) => {
  // The child outlives it, and holds stdout open.
  for (const script of ['echo said; (sleep 5; echo more) & wait', 'echo said; (sleep 5; echo more) &']) {
    const end = await runCommand('sh', ['-c', script], { deadline: 300 });
    t.match(end, { stdout: 'said\n', timedOut: true }, script);
  }
});
