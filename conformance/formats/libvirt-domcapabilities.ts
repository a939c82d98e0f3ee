/** `<cpu>` of `virsh domcapabilities`: the host-model CPU and the models that can be used. */
import { InputError } from '../../corpora/errors.js';
import { type Absent, dumpOf, type NamedCpu, type OfferedModel } from './dump.js';
import type { Format } from './format.js';
import { namedLines, readNamed, refuseOtherArch } from './libvirt-cpu.js';
import { listed, lossesOf } from './losses.js';
import { escapeXml, parseXml, type XmlElement } from './xml-reader.js';

const absent: Absent = { row: 'open', msr: 'open' };
/** What is read of the host-model, and of a model that is offered. */
const READ = ['model', 'vendor', 'feature'];
const READ_OF_MODEL = ['usable', 'vendor', 'canonical'];
const USABLE = ['yes', 'no', 'unknown'] as const;
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

export const libvirtDomcapabilities: Format = {
  name: 'libvirt-domcapabilities',
  title: 'virsh domcapabilities',
  absent,
  speaks: 'names',
  recognizes: (text) => /<domainCapabilities[\s>]/.test(text),
  parse(text) {
    const root = parseXml({ format: this.name, text });
    if (root.name !== 'domainCapabilities') throw root.fail(`expected <domainCapabilities>, found <${root.name}>`);
    refuseOtherArch(root.child('arch'), root.child('arch')?.text);
    const cpu = root.child('cpu');
    if (!cpu) throw root.fail('<domainCapabilities> has no <cpu>');
    const mode = (name: string): XmlElement | undefined =>
      cpu.children.find((child) => child.name === 'mode' && child.required('name') === name);
    const hostModel = mode('host-model');
    const named: NamedCpu = {
      ...(hostModel
        ? readNamed(hostModel, 'host-model')
        : { mode: 'host-model', model: null, vendor: null, features: [] }),
      offered: readOffered(mode('custom')),
    };
    const others = root.children.some(({ name }) => name !== 'cpu');
    const losses = [...(others ? ['only <cpu> is read'] : []), ...unread(hostModel, mode('custom'))];
    return { dump: { ...dumpOf([], absent), named }, losses };
  },
  write(dump) {
    if (!dump.named)
      throw new InputError('no-names', 'libvirt-domcapabilities describes CPUs by name; the input has no names');
    const { named } = dump;
    const custom = named.offered.flatMap(offeredLines);
    const lines = [
      '<domainCapabilities>',
      '  <cpu>',
      "    <mode name='host-model' supported='yes'>",
      ...namedLines(named, '      '),
      '    </mode>',
      ...(custom.length ? ["    <mode name='custom' supported='yes'>", ...custom, '    </mode>'] : []),
      '  </cpu>',
      '</domainCapabilities>',
      '',
    ];
    const mode = named.mode === 'host-model' ? [] : [`mode '${named.mode}' is written as host-model`];
    return { text: lines.join('\n'), losses: [...lossesOf(dump, holds), ...mode] };
  },
};

function unread(hostModel: XmlElement | undefined, custom: XmlElement | undefined): string[] {
  const elements = (hostModel?.children ?? []).map(({ name }) => name).filter((name) => !READ.includes(name));
  const models = (custom?.children ?? []).filter(({ name }) => name === 'model');
  const attributes = new Set(
    models.flatMap((model) => model.attributeNames()).filter((name) => !READ_OF_MODEL.includes(name)),
  );
  return [
    ...(elements.length ? [`left out ${listed(elements.map((name) => `<${name}>`))} of host-model`] : []),
    ...(attributes.size ? [`left out ${listed([...attributes])} of <model>`] : []),
  ];
}

function readOffered(custom: XmlElement | undefined): OfferedModel[] {
  const elements = custom?.children ?? [];
  const blockers = new Map(
    elements
      .filter(({ name }) => name === 'blockers')
      .map((element) => [element.required('model'), element.children.map((feature) => feature.required('name'))]),
  );
  return elements
    .filter(({ name }) => name === 'model')
    .map((element) => ({
      name: element.text,
      usable: element.oneOf('usable', USABLE),
      vendor: element.attribute('vendor') ?? null,
      canonical: element.attribute('canonical') ?? null,
      blockers: blockers.get(element.text) ?? [],
    }));
}

function offeredLines({ name, usable, vendor, canonical, blockers }: OfferedModel): string[] {
  const by = vendor === null ? '' : ` vendor='${escapeXml(vendor)}'`;
  const as = canonical === null ? '' : ` canonical='${escapeXml(canonical)}'`;
  const model = `      <model usable='${usable}'${by}${as}>${escapeXml(name)}</model>`;
  if (!blockers.length) return [model];
  const features = blockers.map((feature) => `        <feature name='${escapeXml(feature)}'/>`);
  return [model, `      <blockers model='${escapeXml(name)}'>`, ...features, '      </blockers>'];
}
