/** `probe --write-msrs`: the write sweep of one pair on hosts, as a table; every host must show the same. */
import { EXIT, type ExitCode } from '../../corpora/errors.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import { msrLabel } from '../../corpora/msrs.js';
import { type SweepMode, type SweptMsr, sweepWrites } from '../msr-writes.js';
import type { CellPair } from '../run/cell.js';
import { openSweptHosts } from './hosts.js';
import { type CommonOptions, print, printJson } from './output.js';
import { definitionsOf, onePair, type PairOptions, pairsOn } from './pairs.js';

export interface WriteSweepOptions extends CommonOptions, PairOptions {
  readonly subject: string;
  readonly host?: readonly string[];
  readonly writeMsrs: SweepMode;
}

/** Exit code 1 where any MSR takes a write otherwise than its contract says. */
export async function writeSweep(options: WriteSweepOptions): Promise<ExitCode> {
  const definitions = definitionsOf(options.corpora);
  const pairs = pairsOn([onePair(options, definitions)], definitions);
  await using opened = await openSweptHosts(options.host, options.subject);
  const ends: { host: string; swept: readonly SweptMsr[] }[] = [];
  for (const host of opened.hosts) {
    const [{ identity }] = pairs([host]) as [CellPair];
    const swept = await sweepWrites(host, identity, options.writeMsrs);
    ends.push({ host: host.summary.id, swept });
    if (!options.json) print(hostLines(identity.pair, host.summary.id, swept).join('\n'));
  }
  if (options.json)
    printJson('write-sweep', {
      hosts: ends.map(({ host, swept }) => ({ host, msrs: swept.map(msrToJson) })),
    });
  return ends.some(({ swept }) => swept.some(({ findings }) => findings.length > 0)) ? EXIT.broken : EXIT.holds;
}

const msrToJson = (msr: SweptMsr): object => ({ ...msr, index: hex32(msr.index), untried: hex64(msr.untried) });

function hostLines(pair: string, host: string, swept: readonly SweptMsr[]): string[] {
  const sum = (of: (msr: SweptMsr) => number): number => swept.reduce((total, msr) => total + of(msr), 0);
  const found = swept.filter(({ findings }) => findings.length > 0);
  return [
    `${pair} on ${host}: ${swept.length} MSRs, ${sum(({ writes }) => writes)} writes, ${sum(({ faults }) => faults)} faults, ${found.length} MSRs otherwise than the manuals`,
    ...swept
      .filter(({ untried }) => untried !== 0n)
      .map(
        ({ index, untried }) =>
          `  ${msrLabel(index)}: ${hex64(untried)} was not tried: it brings down this host itself`,
      ),
    ...found.flatMap(({ index, findings }) => [`  ${msrLabel(index)}`, ...findings.map((line) => `    ${line}`)]),
  ];
}
