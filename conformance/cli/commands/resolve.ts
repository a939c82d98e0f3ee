/** `guest-abi resolve`: the CPU identity of a pair, without a VM. */
import { Command } from 'commander';
import { InputError } from '../../../corpora/errors.js';
import { wholeNumber, withCommon, withPairs } from '../options.js';
import { type CommonOptions, print, printJson } from '../output.js';
import type { PairOptions } from '../pairs.js';

interface ResolveOptions extends CommonOptions, PairOptions {
  readonly vcpu?: number;
  readonly msrs?: boolean;
}

export const resolveCommand = (): Command =>
  withCommon(withPairs(new Command('resolve')))
    .description('the CPU identity of a pair, without a VM')
    .option('--vcpu <n>', 'the table of this vCPU (default 0)', wholeNumber('--vcpu'))
    .option('--msrs', 'list the MSRs too')
    .action(async (options: ResolveOptions) => {
      const { definitionsOf, onePair, resolvePair } = await import('../pairs.js');
      const definitions = definitionsOf(options.corpora);
      const identity = resolvePair(onePair(options, definitions), definitions);
      const vcpu = identity.vcpus[options.vcpu ?? 0];
      if (!vcpu)
        throw new InputError(
          'no-such-vcpu',
          `--vcpu ${options.vcpu}: ${identity.pair} has vCPUs 0 to ${identity.vcpus.length - 1}`,
          {
            given: String(options.vcpu),
          },
        );
      if (options.json) {
        const { identityToJson } = await import('../../../corpora/identity.js');
        const { vcpus: _, msrs, ...rest } = identityToJson(identity);
        printJson('resolve', { ...rest, vcpu: vcpu.index, apicId: vcpu.apicId, cpuid: vcpu.cpuid.toJSON(), msrs });
      } else {
        const { identityText } = await import('../identity-text.js');
        print(identityText(identity, vcpu, options.msrs ?? false));
      }
    });
