/** `guest-abi resolve`: the CPU identity of a pair, without a VM. */
import { Command } from 'commander';
import type { Definitions } from '../../../corpora/definitions.js';
import { EXIT, InputError } from '../../../corpora/errors.js';
import { wholeNumber, withCommon, withPairs } from '../options.js';
import { type CommonOptions, print, printJson } from '../output.js';
import type { PairOptions, PairRequest } from '../pairs.js';

interface ResolveOptions extends CommonOptions, PairOptions {
  readonly host?: string;
  readonly vcpu?: number;
  readonly msrs?: boolean;
}

export const resolveCommand = (): Command =>
  withCommon(withPairs(new Command('resolve')))
    .description('the CPU identity of a pair, without a VM')
    .option('--host <host>', 'as this host can give it: enforce, check, models host, max and best')
    .option('--vcpu <n>', 'the table of this vCPU (default 0)', wholeNumber('--vcpu'))
    .option('--msrs', 'list the MSRs too')
    .action(async (options: ResolveOptions) => {
      const { definitionsOf, onePair, resolvePair } = await import('../pairs.js');
      const definitions = definitionsOf(options.corpora);
      const pair = onePair(options, definitions);
      const onHost = options.host === undefined ? null : await atHost(options, options.host, pair, definitions);
      if (onHost && 'refused' in onHost) return;
      const identity = onHost?.identity ?? resolvePair(pair, definitions);
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
        printJson('resolve', {
          ...rest,
          ...onHost?.facts,
          vcpu: vcpu.index,
          apicId: vcpu.apicId,
          cpuid: vcpu.cpuid.toJSON(),
          msrs,
        });
      } else {
        const { identityText } = await import('../identity-text.js');
        print(identityText(identity, vcpu, options.msrs ?? false));
      }
    });

/** The pair on a host; a refusal by `enforce` is printed here. */
async function atHost(options: CommonOptions, name: string, pair: PairRequest, definitions: Definitions) {
  const { resolveAtHost } = await import('../resolve-on-host.js');
  const end = await resolveAtHost(name, pair, definitions, options);
  if ('refused' in end) process.exitCode = EXIT.cannot;
  return end;
}
