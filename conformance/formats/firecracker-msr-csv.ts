/** Firecracker's lists of a guest's MSRs (tests/data/msr): `MSR_ADDR,VALUE`, one MSR a line. */
import { hexShort } from '../../corpora/hex.js';
import { CpuCollector } from './cpu-collector.js';
import { type Absent, dumpOf } from './dump.js';
import type { Format } from './format.js';
import { linesOf } from './line-reader.js';
import { listed, lossesOf } from './losses.js';
import { expected } from './place.js';

const absent: Absent = { row: 'open', msr: 'scanned' };
const holds = {
  absent,
  cpus: 'one',
  rows: false,
  msrs: true,
  flags: false,
  openBits: false,
  faults: false,
  names: false,
  facts: [],
} as const;
const HEADER = 'MSR_ADDR,VALUE';
const ALL = 2n ** 64n - 1n;

export const firecrackerMsrCsv: Format = {
  name: 'firecracker-msr-csv',
  title: 'Firecracker MSR list',
  absent,
  speaks: 'bits',
  recognizes: (text) => text.startsWith(HEADER),
  parse(text) {
    const source = { format: this.name, text };
    const [header, ...rows] = linesOf(source);
    if (header?.text !== HEADER) throw expected(source, header?.start ?? 0, `the header ${HEADER}`);
    const found = new CpuCollector();
    const beyond: string[] = [];
    found.begin(0);
    for (const line of rows) {
      const index = BigInt(line.take(/0x[0-9a-fA-F]{1,16}(?=,)/, 'an MSR such as 0x10a and a comma'));
      line.take(/,/, "','");
      const value = BigInt(line.take(/0x[0-9a-fA-F]{1,16}(?![0-9a-fA-F])/, 'a value such as 0xc02a0eb'));
      line.end();
      // Real lists have such rows: the guest's msr driver was asked at a file offset beyond 32 bits, which no MSR has.
      if (index > 0xffffffffn) beyond.push(`0x${index.toString(16)}`);
      else found.addMsr(0, { index: Number(index), value, mask: ALL }, (message) => line.fail(message));
    }
    const losses = beyond.length ? [`no MSR has an index of more than 32 bits: left out ${listed(beyond)}`] : [];
    return { dump: dumpOf(found.cpus(), absent), losses };
  },
  write(dump) {
    const rows = (dump.cpus[0]?.msrs ?? []).flatMap((msr) =>
      'fault' in msr ? [] : [`${hexShort(msr.index)},0x${msr.value.toString(16)}`],
    );
    return { text: [HEADER, ...rows, ''].join('\n'), losses: lossesOf(dump, holds) };
  },
};
