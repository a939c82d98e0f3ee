/** `guest-abi agent`: serves a runner over stdin and stdout, until its input ends. */
import { Command } from 'commander';

export const agentCommand = (): Command =>
  new Command('agent').description('serve a conformance runner over stdin and stdout (JSON lines)').action(async () => {
    await import('../../hosts/agent/main.js');
  });
