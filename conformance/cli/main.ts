#!/usr/bin/env node
/** The command line. Commands load what they need when they run, so that `resolve` stays quick. */
import { Command, CommanderError } from 'commander';
import { EXIT, InputError } from '../../corpora/errors.js';
import { PACKAGE_VERSION } from '../version.js';
import { reportError } from './output.js';

/** By their names, in the order of the help. */
const COMMANDS: Readonly<Record<string, () => Promise<() => Command>>> = {
  doctor: async () => (await import('./commands/doctor.js')).doctorCommand,
  machines: async () => (await import('./commands/machines.js')).machinesCommand,
  models: async () => (await import('./commands/models.js')).modelsCommand,
  resolve: async () => (await import('./commands/resolve.js')).resolveCommand,
  probe: async () => (await import('./commands/probe.js')).probeCommand,
  verify: async () => (await import('./commands/verify.js')).verifyCommand,
  report: async () => (await import('./commands/report.js')).reportCommand,
  bundle: async () => (await import('./commands/bundle.js')).bundleCommand,
  reproduce: async () => (await import('./commands/reproduce.js')).reproduceCommand,
  diff: async () => (await import('./commands/diff.js')).diffCommand,
  convert: async () => (await import('./commands/convert.js')).convertCommand,
  vmm: async () => (await import('./commands/vmm.js')).vmmCommand,
  host: async () => (await import('./commands/host.js')).hostCommand,
  agent: async () => (await import('./commands/agent.js')).agentCommand,
  lab: async () => (await import('./commands/lab.js')).labCommand,
  import: async () => (await import('./commands/import.js')).importCommand,
  freeze: async () => (await import('./commands/freeze.js')).freezeCommand,
  gate: async () => (await import('./commands/gate.js')).gateCommand,
  qualify: async () => (await import('./commands/qualify.js')).qualifyCommand,
  start: async () => (await import('./commands/start.js')).startCommand,
};

const program = new Command('guest-abi')
  .description('Does a guest see the same CPU tomorrow as today?')
  .version(PACKAGE_VERSION)
  // An option belongs to the command that it stands behind: `report merge --out`.
  .enablePositionalOptions()
  .addHelpText(
    'after',
    '\nExit codes: 0 holds; 1 an ABI break, unexpected, crashed or hung; 2 bad input or usage; 3 cannot, or nothing verified.',
  );
// Where a command is named only that one is loaded: the others cost a third of the modules.
const [, , first = ''] = process.argv;
const loaded = Object.hasOwn(COMMANDS, first) ? [COMMANDS[first]!] : Object.values(COMMANDS);
for (const load of loaded) program.addCommand((await load())());
for (const command of allCommands(program)) command.exitOverride().configureOutput({ outputError: () => {} });

// What nobody hears any more is no reason to end otherwise.
process.stderr.on('error', () => undefined);
const json = process.argv.includes('--json');
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = error instanceof CommanderError ? usageExit(error) : reportError(error, json);
}

/** Help and version are answers; everything else that commander throws is bad usage. */
function usageExit(error: CommanderError): number {
  if (error.exitCode === 0 || error.code === 'commander.help') return error.exitCode === 0 ? EXIT.holds : EXIT.usage;
  const [message, hint] = error.message.replace(/^error: /, '').split('\n');
  const nearest = /Did you mean (?:one of )?(.*)\?/.exec(hint ?? '')?.[1]?.split(', ') ?? [];
  const near = nearest.length ? `; nearest: ${nearest.join(', ')}` : '; see guest-abi --help';
  return reportError(new InputError('usage', `${message}${near}`, { nearest }), json);
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}
