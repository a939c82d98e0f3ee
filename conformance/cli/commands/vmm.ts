/** `guest-abi vmm`: the reference monitor itself. */
import { Command } from 'commander';
import { wholeNumber, withCommon } from '../options.js';
import type { VmmRunOptions } from '../vmm-run.js';

export const vmmCommand = (): Command =>
  new Command('vmm').description('the reference monitor itself').addCommand(runCommand());

const runCommand = (): Command =>
  withCommon(new Command('run'))
    .description('boot a multiboot, PVH or flat image; its serial port is stdin and stdout')
    .requiredOption('--machine <name>', 'machine type')
    .requiredOption('--cpu <model>', 'CPU model with properties, as in -cpu')
    .requiredOption('--kernel <file>', 'image to boot')
    .option('--initrd <files>', 'multiboot modules: FILE [ARGUMENTS], separated by commas')
    .option('--append <text>', "the kernel's command line")
    .option('--memory <mib>', 'guest memory in MiB', wholeNumber('--memory', 1), 16)
    .option('--timeout <s>', 'end the guest after so many seconds', wholeNumber('--timeout', 1), 60)
    .option('--allow-altered', 'run although the kernel alters CPUID')
    .option('--force-features', 'expose features that the host does not offer')
    .action(async (options: VmmRunOptions) => {
      const { vmmRun } = await import('../vmm-run.js');
      process.exitCode = await vmmRun(options);
    });
