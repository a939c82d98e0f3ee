/** `guest-abi doctor`: what this machine can do. */
import { Command } from 'commander';
import { EXIT } from '../../../corpora/errors.js';
import { withCommon } from '../options.js';
import { type CommonOptions, print, printJson } from '../output.js';

export const doctorCommand = (): Command =>
  withCommon(new Command('doctor'))
    .description('what this machine can do; each "no" with its cure')
    .action(async (options: CommonOptions) => {
      const { diagnose } = await import('../doctor.js');
      const checks = await diagnose();
      if (options.json) printJson('doctor', { checks });
      else
        print(
          checks
            .map(
              ({ ok, name, finding, cure }) =>
                `${ok ? 'yes' : 'no '}  ${name.padEnd(5)} ${finding}${cure ? `\n           cure: ${cure}` : ''}`,
            )
            .join('\n'),
        );
      const exact = checks.some(({ name, ok }) => ok && (name === 'kvm' || name === 'lab'));
      process.exitCode = exact ? EXIT.holds : EXIT.cannot;
    });
