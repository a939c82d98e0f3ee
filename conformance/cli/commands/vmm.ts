/** `guest-abi vmm`: the reference monitor itself. */
import { Command } from 'commander';
import { wholeNumber, withCommon } from '../options.js';
import type { CommonOptions } from '../output.js';
import type { VmmMigrateOptions } from '../vmm-migrate.js';
import type { VmmRunOptions } from '../vmm-run.js';
import type { VmmSaveOptions } from '../vmm-snapshot.js';

export const vmmCommand = (): Command =>
  new Command('vmm')
    .description('the reference monitor itself')
    .addCommand(runCommand())
    .addCommand(migrateCommand())
    .addCommand(snapshotCommand());

const runCommand = (): Command =>
  withCommon(new Command('run'))
    .description('boot a multiboot, PVH or flat image, or go on from a snapshot; the serial port is stdin and stdout')
    .option('--machine <name>', 'machine type')
    .option('--cpu <model>', 'CPU model with properties, as in -cpu')
    .option('--smp <shape>', 'SMP shape: 1, 4, or cpus=,sockets=,...', '1')
    .option('--kernel <file>', 'image to boot')
    .option('--initrd <files>', 'multiboot modules: FILE [ARGUMENTS], separated by commas')
    .option('--append <text>', "the kernel's command line")
    .option('--memory <mib>', 'guest memory in MiB', wholeNumber('--memory', 1), 16)
    .option('--restore <file>', 'go on from a snapshot; --kernel is then what a reset boots')
    .option('--lazy', 'map the snapshot instead of reading it: nobody may write to it meanwhile')
    .option(
      '--timeout <s>',
      'end the guest after so many seconds (default 60, with --qmp none)',
      wholeNumber('--timeout', 1),
    )
    .option('--qmp <socket>', "QEMU's machine protocol at unix:PATH")
    .option('--name <name>', "the machine's name")
    .option('-S, --paused', 'do not start the guest: QMP cont does')
    .option('--incoming <uri>', 'wait for a migration: unix:PATH, tcp:HOST:PORT, fd:N, exec:COMMAND, or defer')
    .option('--tls-creds <dir>', 'take it over TLS: ca-cert.pem, server-cert.pem and server-key.pem')
    .option('--allow-altered', 'run although the kernel alters CPUID')
    .option('--force-features', 'expose features that the host does not offer')
    .action(async (options: VmmRunOptions) => {
      // Beside the modules: a thread takes as long to start as they take to load. Where it fails, whoever wants it is told.
      const { prepareThreads } = await import('../../../reference-vmm/kvm/vcpu-threads.js');
      void prepareThreads(1).catch(() => undefined);
      const { vmmRun } = await import('../vmm-run.js');
      process.exitCode = await vmmRun(options);
    });

const migrateCommand = (): Command =>
  withCommon(new Command('migrate'))
    .description('move the running guest of a `vmm run --qmp` to a `vmm run --incoming`; interrupted, it stays')
    .requiredOption('--qmp <socket>', 'control socket of the source: unix:PATH')
    .requiredOption('--to <uri>', 'where the destination listens: unix:PATH, tcp:HOST:PORT, exec:COMMAND')
    .option(
      '--downtime-limit <ms>',
      'stop the guest once the rest takes no longer (300)',
      wholeNumber('--downtime-limit'),
    )
    .option(
      '--max-bandwidth <bytes>',
      'a second, while the guest runs; 0 for no limit (0)',
      wholeNumber('--max-bandwidth'),
    )
    .option('--max-rounds <n>', 'rounds over memory before the limit is given up (30)', wholeNumber('--max-rounds', 1))
    .option('--when-not-converging <policy>', 'then: stop, for longer than the limit, or fail (stop)')
    .option('--silence-limit <ms>', 'how long the other side may be silent (30000)', wholeNumber('--silence-limit', 1))
    .option('--tls-creds <dir>', 'over TLS: ca-cert.pem, client-cert.pem and client-key.pem')
    .option('--tls-hostname <name>', "the name in the destination's certificate (the host of the URI)")
    .option('--keep', 'leave the source there afterwards, its guest gone')
    .action(async (options: VmmMigrateOptions) => {
      const { vmmMigrate } = await import('../vmm-migrate.js');
      process.exitCode = await vmmMigrate(options);
    });

const snapshotCommand = (): Command =>
  new Command('snapshot')
    .description('save the guest of a `vmm run --qmp`, running or stopped, and look into snapshot files')
    .addCommand(saveCommand())
    .addCommand(showCommand());

const saveCommand = (): Command =>
  withCommon(new Command('save'))
    .description('save a guest while it runs; interrupted, it leaves no file')
    .requiredOption('--qmp <socket>', "the machine's control socket: unix:PATH")
    .requiredOption('--to <file>', 'NAME.snapshot; it is there once it is whole')
    .option('--stopped', 'stop the guest for as long as it takes')
    .option('--max-bandwidth <bytes>', 'a second, 0 for no limit (0)', wholeNumber('--max-bandwidth'))
    .action(async (options: VmmSaveOptions) => {
      const { vmmSave } = await import('../vmm-snapshot.js');
      process.exitCode = await vmmSave(options);
    });

const showCommand = (): Command =>
  withCommon(new Command('show'))
    .description('check a snapshot file and say what it holds')
    .argument('<file>')
    .action(async (file: string, options: CommonOptions) => {
      const { vmmShow } = await import('../vmm-snapshot.js');
      process.exitCode = vmmShow(file, options);
    });
