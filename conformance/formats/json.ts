/** Our own JSON: what `convert`, `probe`, `resolve` and `host capture` write. */
import { isDeepStrictEqual } from 'node:util';
import { type CpuidRow, CpuidTable, REGISTERS } from '../../corpora/cpuid.js';
import { hex32, hex64, hexShort } from '../../corpora/hex.js';
import { CAPTURE_SCHEMA } from '../../corpora/host-capture.js';
import { rowName } from './cpu-collector.js';
import {
  ABSENT_MSRS,
  ABSENT_ROWS,
  type CpuDump,
  type DumpedCpu,
  type DumpedMsr,
  dumpOf,
  type NamedCpu,
  type OfferedModel,
  POLICIES,
} from './dump.js';
import type { Format, Parsed } from './format.js';
import { JsonValue } from './json-reader.js';
import { listed } from './losses.js';

export const DUMP_SCHEMA = 'guest-abi/dump/1';
const SCHEMAS = [DUMP_SCHEMA, 'guest-abi/probe/1', 'guest-abi/resolve/1', CAPTURE_SCHEMA] as const;
const ALL = 2n ** 64n - 1n;

export const json: Format = {
  name: 'json',
  title: 'guest-abi JSON',
  absent: { row: 'none', msr: 'none' },
  speaks: 'both',
  recognizes: (text) => /"schema"\s*:\s*"guest-abi\//.test(text),
  parse(text) {
    const root = JsonValue.parse({ format: this.name, text });
    switch (root.get('schema').oneOf(SCHEMAS)) {
      case DUMP_SCHEMA:
        return readDump(root);
      case 'guest-abi/probe/1':
        return readProbe(root);
      case 'guest-abi/resolve/1':
        return readResolve(root);
      case CAPTURE_SCHEMA:
        return readCapture(root);
    }
  },
  write: (dump) => ({ text: `${JSON.stringify(dumpToJson(dump), null, 1)}\n`, losses: [] }),
};

const dumpToJson = ({ cpus, absent, named, facts }: CpuDump): object => ({
  schema: DUMP_SCHEMA,
  cpus: cpus.map(({ index, cpuid, mask, msrs }) => ({ index, cpuid, mask, msrs: msrs.map(msrToJson) })),
  absent,
  named,
  facts,
});

const msrToJson = (msr: DumpedMsr): object =>
  'fault' in msr
    ? { index: hex32(msr.index), fault: msr.fault }
    : { index: hex32(msr.index), value: hex64(msr.value), ...(msr.mask === ALL ? {} : { mask: hex64(msr.mask) }) };

function readDump(root: JsonValue): Parsed {
  root.only('schema', 'cpus', 'absent', 'named', 'facts');
  const absent = root.get('absent');
  const named = root.get('named');
  const facts = root.get('facts');
  const cpus = root.get('cpus').items().map(readCpu);
  const seen = new Set<number>();
  for (const [i, { index }] of cpus.entries()) {
    if (seen.has(index)) throw root.get('cpus').items()[i]!.fail(`CPU ${index} stands twice`);
    seen.add(index);
  }
  const dump: CpuDump = {
    cpus,
    absent: {
      row: absent.get('row').oneOf(ABSENT_ROWS),
      msr: absent.get('msr').oneOf(ABSENT_MSRS),
    },
    named: named.isNull ? null : readNamed(named),
    facts: Object.fromEntries(facts.keys().map((key) => [key, facts.get(key).string()])),
  };
  return { dump, losses: [] };
}

function readCpu(cpu: JsonValue): DumpedCpu {
  cpu.only('index', 'cpuid', 'mask', 'msrs');
  const cpuid = readTable(cpu.get('cpuid'));
  const mask = cpu.get('mask').isNull ? null : readTable(cpu.get('mask'));
  const misfit =
    mask && (mask.size !== cpuid.size || cpuid.rows.some((row) => !fits(row, mask.get(row.leaf, row.subleaf))));
  if (misfit) throw cpu.get('mask').fail('expected the rows of cpuid, with a bit for every bit that is set there');
  return { index: cpu.get('index').whole(0xffffffff), cpuid, mask, msrs: readMsrs(cpu.get('msrs')) };
}

const fits = (row: CpuidRow, mask: CpuidRow | undefined): boolean =>
  mask !== undefined && REGISTERS.every((register) => (row[register] & ~mask[register]) === 0);

function readTable(rows: JsonValue): CpuidTable {
  const found = new Map<string, CpuidRow>();
  for (const item of rows.items()) {
    item.only('leaf', 'subleaf', ...REGISTERS);
    const subleaf = item.get('subleaf');
    const [eax, ebx, ecx, edx] = REGISTERS.map((register) => item.get(register).hex32()) as [
      number,
      number,
      number,
      number,
    ];
    const row = {
      leaf: item.get('leaf').hex32(),
      subleaf: subleaf.isNull ? null : subleaf.hex32(),
      eax,
      ebx,
      ecx,
      edx,
    };
    if (found.has(rowName(row))) throw item.fail(`CPUID ${rowName(row)} stands twice`);
    found.set(rowName(row), row);
  }
  return new CpuidTable(found.values());
}

/** `changed` takes MSRs that a probe read again and found otherwise; without it, none may stand twice. */
function readMsrs(msrs: JsonValue, changed?: string[]): DumpedMsr[] {
  const found = new Map<number, DumpedMsr>();
  for (const item of msrs.items()) {
    item.only('index', 'value', 'mask', 'fault');
    const index = item.get('index').hex32();
    const before = found.get(index);
    const msr = readMsr(item, index);
    if (!before) found.set(index, msr);
    else if (!changed) throw item.fail(`MSR ${hexShort(index)} stands twice`);
    else if (!isDeepStrictEqual(before, msr)) changed.push(hexShort(index));
  }
  return [...found.values()].sort((a, b) => a.index - b.index);
}

function readMsr(item: JsonValue, index: number): DumpedMsr {
  if (item.maybe('fault')) return { index, fault: item.get('fault').oneOf(['#GP', '#UD']) };
  const value = item.get('value').hex(64);
  const mask = item.maybe('mask')?.hex(64) ?? ALL;
  if (value & ~mask) throw item.fail('value has a bit that mask leaves open');
  return { index, value, mask };
}

function readNamed(named: JsonValue): NamedCpu {
  named.only('mode', 'model', 'vendor', 'features', 'offered');
  return {
    mode: named.get('mode').string(),
    model: nullable(named.get('model')),
    vendor: nullable(named.get('vendor')),
    features: named
      .get('features')
      .items()
      .map((feature) => ({
        name: feature.get('name').string(),
        policy: feature.get('policy').oneOf(POLICIES),
      })),
    offered: named
      .get('offered')
      .items()
      .map(
        (model): OfferedModel => ({
          name: model.get('name').string(),
          usable: model.get('usable').string(),
          vendor: nullable(model.get('vendor')),
          canonical: model.maybe('canonical')?.isNull === false ? model.get('canonical').string() : null,
          blockers: model
            .get('blockers')
            .items()
            .map((blocker) => blocker.string()),
        }),
      ),
  };
}

const nullable = (value: JsonValue): string | null => (value.isNull ? null : value.string());

/** The last dump of each vCPU. */
function readProbe(root: JsonValue): Parsed {
  const cpus = new Map<number, DumpedCpu>();
  const changed: string[] = [];
  const vcpus = root.get('vcpus').items();
  for (const vcpu of vcpus) {
    const index = vcpu.get('index').whole(0xffffffff);
    cpus.set(index, {
      index,
      cpuid: readTable(vcpu.get('cpuid')),
      mask: null,
      msrs: readMsrs(vcpu.get('msrs'), changed),
    });
  }
  const losses = [
    ...(cpus.size < vcpus.length ? ['only the last dump of each vCPU is read'] : []),
    ...(changed.length ? [`read more than once, only the first kept: MSR ${listed(changed)}`] : []),
  ];
  return { dump: { cpus: [...cpus.values()], absent: json.absent, ...pairOf(root) }, losses };
}

/** The pair as a fact, and its model as a name. */
function pairOf(root: JsonValue): Pick<CpuDump, 'named' | 'facts'> {
  const pair = root.get('pair');
  const model = /^[^/]+\/([^/,]+)/.exec(pair.string())?.[1];
  if (model === undefined) throw pair.fail('expected a pair such as "pc-i440fx-2.3/Nehalem"');
  return { named: { mode: 'custom', model, vendor: null, features: [], offered: [] }, facts: { pair: pair.string() } };
}

function readResolve(root: JsonValue): Parsed {
  const cpu = {
    index: root.get('vcpu').whole(0xffffffff),
    cpuid: readTable(root.get('cpuid')),
    mask: null,
    msrs: readMsrs(root.get('msrs')),
  };
  return { dump: { cpus: [cpu], absent: { row: 'answered', msr: 'none' }, ...pairOf(root) }, losses: [] };
}

function readCapture(root: JsonValue): Parsed {
  const cpu = {
    index: 0,
    cpuid: readTable(root.get('supportedCpuid')),
    mask: null,
    msrs: readMsrs(root.get('featureMsrs')),
  };
  const dump = dumpOf([cpu], { row: 'none', msr: 'open' });
  return { dump, losses: ['of a host capture, only supportedCpuid and featureMsrs are read'] };
}
