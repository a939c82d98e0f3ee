/** `guest-abi vmm`: the reference monitor itself. */
import { Command } from 'commander';
import { wholeNumber, withCommon } from '../options.js';
import type { VmmRunOptions } from '../vmm-run.js';

export const vmmCommand = (): Command =>
  new Command('vmm').description('the reference monitor itself').addCommand(runCommand());

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
    .option('--allow-altered', 'run although the kernel alters CPUID')
    .option('--force-features', 'expose features that the host does not offer')
    .action(async (options: VmmRunOptions) => {
      const { vmmRun } = await import('../vmm-run.js');
      process.exitCode = await vmmRun(options);
    });
