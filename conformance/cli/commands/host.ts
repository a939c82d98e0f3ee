/** `guest-abi host`: what hosts offer, what runs on them, and where a guest can go. */
import { Argument, Command } from 'commander';
import type { CaptureOptions, GuestOptions, HostOptions, MachineOptions } from '../host.js';
import { withCommon } from '../options.js';

const HOSTS = 'local, lab:6.12, lab:5.10/EPYC-Genoa, recorded:FILE, recorded:EPYC/6.12';

export const hostCommand = (): Command =>
  new Command('host')
    .description('what hosts offer, what runs on them, where a guest can go')
    .addCommand(captureCommand())
    .addCommand(featuresCommand())
    .addCommand(runnableCommand())
    .addCommand(canMoveCommand())
    .addCommand(baselineCommand())
    .addCommand(diffCommand());

const question = (name: string, description: string): Command =>
  withCommon(new Command(name)).description(description).addHelpText('after', `\nHosts: ${HOSTS}`);

const withOneHost = (command: Command): Command => command.option('--host <host>', 'host to ask', 'local');

const captureCommand = (): Command =>
  withOneHost(question('capture', 'write down what a host offers, or import what another tool wrote down'))
    .option('--from <file>', "a dump of a KVM's answers (JSON, also gzipped) to import")
    .option('--out <file>', 'where the capture goes (default stdout)')
    .action(async (options: CaptureOptions) => {
      const { captureHost } = await import('../host.js');
      process.exitCode = await captureHost(options);
    });

const featuresCommand = (): Command =>
  withOneHost(question('features', 'every feature that the host knows of, and who gives it to a guest')).action(
    async (options: HostOptions) => {
      const { features } = await import('../host.js');
      process.exitCode = await features(options);
    },
  );

const runnableCommand = (): Command =>
  withOneHost(question('runnable', 'models that run unfiltered on the host, and what the others lack'))
    .option('--machine <name>', 'machine type', 'pc-next')
    .action(async (options: HostOptions & MachineOptions) => {
      const { runnable } = await import('../host.js');
      process.exitCode = await runnable(options);
    });

const canMoveCommand = (): Command =>
  question('can-move', 'can a guest move along these hosts, and back; exit code 3 where it cannot')
    .addArgument(new Argument('<hosts...>', 'hosts in order'))
    .option('--machine <name>', 'machine type of the guest', 'pc-next')
    .option('--cpu <model>', 'its CPU as in -cpu; `host` has all that its first host offers', 'host')
    .option('--smp <shape>', 'its SMP shape')
    .action(async (hosts: string[], options: GuestOptions) => {
      const { canMove } = await import('../host.js');
      process.exitCode = await canMove(hosts, options);
    });

const baselineCommand = (): Command =>
  question('baseline', 'the greatest named model, plus features, that all hosts run unfiltered')
    .addArgument(new Argument('<hosts...>', 'hosts'))
    .option('--machine <name>', 'machine type', 'pc-next')
    .action(async (hosts: string[], options: MachineOptions) => {
      const { baseline } = await import('../host.js');
      process.exitCode = await baseline(hosts, options);
    });

const diffCommand = (): Command =>
  question('diff', 'what changes from one host to another, by name, and which released pairs it affects')
    .addArgument(new Argument('<before>', 'host'))
    .addArgument(new Argument('<after>', 'host'))
    .action(async (before: string, after: string, options: MachineOptions) => {
      const { diff } = await import('../host.js');
      process.exitCode = await diff(before, after, options);
    });
