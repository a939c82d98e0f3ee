/** `guest-abi import`: what other projects say of CPU models. */
import { Command } from 'commander';
import type { ImportLibvirtOptions } from '../import-libvirt.js';
import { withCommon } from '../options.js';

export const importCommand = (): Command =>
  new Command('import').description('what other projects say of CPU models').addCommand(libvirtCommand());

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
