/** `guest-abi agent`: serves a runner over stdin and stdout, until its input ends. */
import { Command } from 'commander';

export const agentCommand = (): Command =>
  new Command('agent')
    .description('serve a conformance runner over stdin and stdout (JSON lines)')
    .option('--socket <kind...>', 'instead: stdin and stdout to a unix socket; connect PATH, or listen PATH')
    .action(async ({ socket }: { socket?: readonly string[] }) => {
      if (!socket) return void (await import('../../hosts/agent/main.js'));
      const { pipeSocket } = await import('../../hosts/bridge.js');
      await pipeSocket(socket);
      // stdin may be open still, with nobody left to hear what comes.
      process.exit();
    });
