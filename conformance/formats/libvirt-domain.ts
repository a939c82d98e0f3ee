/** `<cpu>` of libvirt's domain XML, alone or in its `<domain>`: a CPU in names. */
import { InputError } from '../../corpora/errors.js';
import { type Absent, dumpOf, type NamedCpu } from './dump.js';
import type { Format } from './format.js';
import { namedLines, readNamed, refuseOtherArch } from './libvirt-cpu.js';
import { listed, lossesOf } from './losses.js';
import { parseXml, type XmlElement } from './xml-reader.js';

const absent: Absent = { row: 'open', msr: 'open' };
const MODES = ['custom', 'host-model', 'host-passthrough', 'maximum'] as const;
const holds = {
  absent,
  cpus: 'one',
  rows: false,
  msrs: false,
  flags: false,
  openBits: false,
  faults: false,
  names: true,
  facts: [],
} as const;

export const libvirtDomain: Format = {
  name: 'libvirt-domain',
  title: 'libvirt domain XML <cpu>',
  absent,
  speaks: 'names',
  recognizes: (text) =>
    /<(domain|cpu)[\s>]/.test(text) && !/<(domainCapabilities|cpudata|capabilities)[\s>]/.test(text),
  parse(text) {
    const root = parseXml({ format: this.name, text });
    const cpu = root.name === 'domain' ? root.child('cpu') : root;
    if (!cpu) throw root.fail('this domain has no <cpu>');
    if (cpu.name !== 'cpu') throw cpu.fail(`expected <domain> or <cpu>, found <${cpu.name}>`);
    const type = root.child('os')?.child('type');
    refuseOtherArch(type, type?.attribute('arch'));
    refuseOtherArch(cpu.child('arch'), cpu.child('arch')?.text);
    const mode = cpu.attribute('mode') === undefined ? 'custom' : cpu.oneOf('mode', MODES);
    const passed = cpu.children
      .filter(({ name }) => !['model', 'vendor', 'feature'].includes(name))
      .map(({ name }) => `<${name}>`);
    const beside = root === cpu ? [] : root.children.filter(tellsOfCpu).map(({ name }) => `<${name}>`);
    const losses = [
      ...(passed.length ? [`left out ${listed([...new Set(passed)])} of <cpu>`] : []),
      ...unreadAttributes(cpu).map((attribute) => `left out ${attribute}`),
      ...(beside.length ? [`only <cpu> is read: left out ${listed(beside)}, which change what a guest sees too`] : []),
    ];
    return { dump: { ...dumpOf([], absent), named: readNamed(cpu, mode) }, losses };
  },
  write(dump) {
    const { named } = dump;
    if (!named)
      throw new InputError('no-names', 'libvirt-domain describes a CPU by a model and features; the input has neither');
    const models = named.offered.length ? [`left out the list of ${named.offered.length} models`] : [];
    return {
      text: [opening(named), ...namedLines(named, '  '), '</cpu>', ''].join('\n'),
      losses: [...lossesOf(dump, holds), ...models],
    };
  },
};

/** Elements of a domain that turn on or off features of KVM and Hyper-V, clocks, and QEMU's own options. */
const tellsOfCpu = ({ name, children }: XmlElement): boolean =>
  ['features', 'clock', 'qemu:commandline'].includes(name) && children.length > 0;

/** Attributes that give the guest another CPU than the model and the features say. */
function unreadAttributes(cpu: XmlElement): string[] {
  const vendor = cpu.child('model')?.attribute('vendor_id');
  return [
    ...(cpu.attribute('match') === 'minimum' ? ["match='minimum' of <cpu>: a guest gets what else its host has"] : []),
    ...['migratable', 'deprecated_features']
      .filter((name) => cpu.attribute(name) !== undefined)
      .map((name) => `${name}='${cpu.attribute(name)}' of <cpu>`),
    ...(vendor === undefined ? [] : [`vendor_id='${vendor}' of <model>, which the guest sees`]),
  ];
}

/** libvirt takes a custom CPU only with a model; the other modes find one themselves. */
function opening(named: NamedCpu): string {
  if (named.mode !== 'custom') return `<cpu mode='${named.mode}'>`;
  if (named.model === null) throw new InputError('no-model', 'libvirt-domain needs a CPU model; the input names none');
  return "<cpu mode='custom' match='exact' check='full'>";
}
