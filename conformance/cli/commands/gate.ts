/** `guest-abi gate`: does an edit change what guests of released pairs see? */
import { Command } from 'commander';
import { CHECK_FORMATS } from '../../../reports/reporters.js';
import type { GateOptions } from '../gate-sides.js';
import { collect, formatOption, wholeNumber, withCommon } from '../options.js';

export const gateCommand = (): Command =>
  withCommon(new Command('gate'))
    .description('does an edit of definitions, or another release, change any released pair?')
    .option('--base <side>', 'git:REF or REF (default: where the branch began), or qemu:BINARY')
    .option('--head <side>', 'worktree, qemu:BINARY, libvirt:DIR or firecracker:FILE', 'worktree')
    .option('--machine <name>', 'only these machine types, globs allowed (repeatable)', collect)
    .option('--cpu <model>', 'only these models, globs allowed (repeatable)', collect)
    .option(
      '--host <host>',
      'boot the affected pairs there; for firecracker: the hosts of the fleet (repeatable)',
      collect,
    )
    .option('--jobs <n>', 'between QEMUs: pairs at a time (default: 2)', wholeNumber('--jobs', 1))
    .option('--log <file>', 'between QEMUs: the result log, written as pairs end; without it there is none')
    .option('--resume <log>', 'between QEMUs: go on with a log; pairs in it are not booted again')
    .option('--fix', 'print a patch for `git apply` that mends what is broken; the report goes to stderr')
    .addOption(formatOption(['text', 'json', ...CHECK_FORMATS]))
    .action(async (options: GateOptions) => {
      const { gate } = await import('../gate.js');
      process.exitCode = await gate(options);
    });
