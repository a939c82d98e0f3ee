#!/usr/bin/env node
/** The command line. Commands load what they need when they run, so that `resolve` stays quick. */
import { Command, CommanderError } from 'commander';
import { EXIT, InputError } from '../../corpora/errors.js';
import { PACKAGE_VERSION } from '../version.js';
import { agentCommand } from './commands/agent.js';
import { bundleCommand } from './commands/bundle.js';
import { convertCommand } from './commands/convert.js';
import { diffCommand } from './commands/diff.js';
import { doctorCommand } from './commands/doctor.js';
import { freezeCommand } from './commands/freeze.js';
import { gateCommand } from './commands/gate.js';
import { hostCommand } from './commands/host.js';
import { importCommand } from './commands/import.js';
import { labCommand } from './commands/lab.js';
import { machinesCommand } from './commands/machines.js';
import { modelsCommand } from './commands/models.js';
import { probeCommand } from './commands/probe.js';
import { qualifyCommand } from './commands/qualify.js';
import { reportCommand } from './commands/report.js';
import { reproduceCommand } from './commands/reproduce.js';
import { resolveCommand } from './commands/resolve.js';
import { startCommand } from './commands/start.js';
import { verifyCommand } from './commands/verify.js';
import { vmmCommand } from './commands/vmm.js';
import { reportError } from './output.js';

const COMMANDS = [
  doctorCommand,
  machinesCommand,
  modelsCommand,
  resolveCommand,
  probeCommand,
  verifyCommand,
  reportCommand,
  bundleCommand,
  reproduceCommand,
  diffCommand,
  convertCommand,
  vmmCommand,
  hostCommand,
  agentCommand,
  labCommand,
  importCommand,
  freezeCommand,
  gateCommand,
  qualifyCommand,
  startCommand,
];

const program = new Command('guest-abi')
  .description('Does a guest see the same CPU tomorrow as today?')
  .version(PACKAGE_VERSION)
  // An option belongs to the command that it stands behind: `report merge --out`.
  .enablePositionalOptions()
  .addHelpText(
    'after',
    '\nExit codes: 0 holds; 1 an ABI break, unexpected, crashed or hung; 2 bad input or usage; 3 cannot, or nothing verified.',
  );
for (const command of COMMANDS) program.addCommand(command());
for (const command of allCommands(program)) command.exitOverride().configureOutput({ outputError: () => {} });

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
