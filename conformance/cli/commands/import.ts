/** `guest-abi import`: what other projects say of CPU models. */
import { Command } from 'commander';
import type { ImportLibvirtOptions } from '../import-libvirt.js';
import type { ImportQemuOptions } from '../import-qemu.js';
import { collect, wholeNumber, withCommon } from '../options.js';

export const importCommand = (): Command =>
  new Command('import')
    .description('what other projects say of CPU models')
    .addCommand(qemuCommand())
    .addCommand(libvirtCommand());

const qemuCommand = (): Command =>
  withCommon(new Command('qemu'))
    .description('CPU models and machine types of a QEMU, asked over QMP under TCG and KVM, into definitions')
    .option('--binary <path>', 'a QEMU of your own')
    .option('--release <version>', 'a QEMU of the cache: 5.2, 7.2, 10.0, 11.1; fetched first where it is not there')
    .option('--tables', 'instead: boot the probe for every pair, under TCG, as evidence for contracts')
    .option('--machine <name>', 'with --tables: only these machine types, globs allowed (repeatable)', collect)
    .option('--out <dir>', 'corpora folder to write to (default: the last --corpora, else the built-in one)')
    .option('--jobs <n>', 'QEMUs at a time (default 2)', wholeNumber('--jobs', 1))
    .action(async (options: ImportQemuOptions) => {
      const { importQemu } = await import('../import-qemu.js');
      await importQemu(options);
    });

const libvirtCommand = (): Command =>
  withCommon(new Command('libvirt'))
    .description("libvirt's CPU map against our definitions: each disagreement, and what only one side knows")
    .option(
      '--cpu-map <dir>',
      'the map (default: the installed one, else the Debian package libvirt0, fetched and not installed)',
    )
    .action(async (options: ImportLibvirtOptions) => {
      const { importLibvirt } = await import('../import-libvirt.js');
      await importLibvirt(options);
    });
