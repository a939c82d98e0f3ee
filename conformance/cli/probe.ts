/** One boot of one pair on one host, with everything that the guest saw. */
import { type ExitCode, InputError } from '../../corpora/errors.js';
import { hex32 } from '../../corpora/hex.js';
import { msrLabel } from '../../corpora/msrs.js';
import { vcpuObservationToJson } from '../../corpora/observation.js';
import { findingLines } from '../../reports/reasons.js';
import { conclude } from '../../reports/result-log.js';
import type { Host } from '../hosts/host.js';
import type { CellPair } from '../run/cell.js';
import { runCell } from '../run/runner.js';
import { cpuidLines } from './identity-text.js';
import { type CommonOptions, print, printJson } from './output.js';
import { definitionsOf, onePair, type PairOptions, pairsOn } from './pairs.js';
import { openSubjects } from './subjects.js';
import { CONCLUSION_EXIT, runOptions } from './verify.js';

export interface ProbeOptions extends CommonOptions, PairOptions {
  readonly subject: string;
  readonly host?: readonly string[];
  readonly msrs?: boolean;
  readonly allowAltered?: boolean;
  readonly forceFeatures?: boolean;
}

/** Boots, prints, and gives the exit code: 0 also where the table was altered and that was allowed. */
export async function probe(options: ProbeOptions): Promise<ExitCode> {
  const definitions = definitionsOf(options.corpora);
  const request = onePair(options, definitions);
  const pairs = pairsOn([request], definitions);
  await using opened = await openSubjects([options.subject], options.host);
  const [host, ...others] = opened.hosts as [Host, ...Host[]];
  if (others.length > 0)
    throw new InputError('many-hosts', `this command takes one host, given are ${opened.hosts.length}`, {
      given: opened.hosts.map(({ summary }) => summary.id).join(' '),
    });
  const [{ identity }] = pairs([host]) as [CellPair];
  const { result, judgement } = await runCell(
    { identity, smp: request.smp, hosts: [host], scenario: 'boot' },
    { ...runOptions(options), definitions },
  );
  const { pair, verdict, predicted, forced, reasons } = result;
  const seen = judgement.seen.at(-1)?.vcpus ?? [];
  if (options.json) {
    const vcpus = seen.map(vcpuObservationToJson);
    const { id, ...facts } = host.summary;
    printJson('probe', { pair, host: id, hostFacts: facts, verdict, predicted, forced, reasons, vcpus });
  } else {
    print(
      [
        `${pair} on ${host.summary.id}: ${verdict} (predicted ${predicted}; evidence: ${result.evidence})`,
        ...findingLines(reasons).map((line) => `    ${line}`),
        ...seen.flatMap((vcpu) => [
          `vCPU ${vcpu.index}: APIC id ${vcpu.apicId}, CR4 ${hex32(vcpu.cr4)}, XCR0 ${vcpu.xcr0 === null ? 'not set' : `0x${vcpu.xcr0.toString(16)}`}`,
          ...cpuidLines({ rows: vcpu.cpuid }),
          ...(options.msrs
            ? vcpu.msrs.map(
                (msr) => `   ${msrLabel(msr.index)}: ${'fault' in msr ? msr.fault : `0x${msr.value.toString(16)}`}`,
              )
            : []),
        ]),
      ].join('\n'),
    );
  }
  if (options.allowAltered && verdict === 'altered') return 0;
  return CONCLUSION_EXIT[conclude({ cells: [result], complete: true })];
}
