/** `guest-abi lab`: the host-kernel lab. */
import { Command } from 'commander';
import type { LabListOptions, LabSetupCliOptions, LabUpOptions } from '../lab.js';
import { withCommon } from '../options.js';

const commaList = (value: string): string[] => value.split(',').filter(Boolean);

export const labCommand = (): Command =>
  new Command('lab')
    .description('the host-kernel lab: real KVM of many kernels, under an emulator')
    .addCommand(
      withCommon(new Command('setup'))
        .description('load QEMU and kernels into the cache; says sizes first, nothing is installed')
        .option('--suite <names>', 'Debian suites whose newest kernel is wanted', commaList)
        .option('--kernel <versions>', 'kernels by version', commaList)
        .option('--qemu <releases>', 'QEMU releases to be subjects, of 5.2, 7.2, 10.0, 11.1', commaList)
        .option('--vmlinuz <file>', 'a kernel of your own')
        .option('--modules <dir>', 'its modules (lib/modules/VERSION)')
        .option('--refresh', 'look for newer kernels than those in the cache')
        .action(async (options: LabSetupCliOptions) => {
          const { labSetup } = await import('../lab.js');
          await labSetup(options);
        }),
    )
    .addCommand(
      withCommon(new Command('list'))
        .description('kernels and CPUs that --host lab:... can name')
        .option('--runnable', 'instead: how many released pairs each lab CPU runs with nothing forced; -v names them')
        .action(async (options: LabListOptions) => {
          const { labList } = await import('../lab.js');
          await labList(options);
        }),
    )
    .addCommand(
      withCommon(new Command('up'))
        .description('boot lab hosts, say how long each took, and end them')
        .argument('[hosts...]', 'such as 6.12 or 5.10/EPYC-Genoa; default all kernels')
        .action(async (hosts: string[], options: LabUpOptions) => {
          const { labUp } = await import('../lab.js');
          await labUp(hosts, options);
        }),
    );
