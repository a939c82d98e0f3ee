/** The `<model>`, `<vendor>` and `<feature>` elements that libvirt uses wherever it describes a CPU in names. */
import { type NamedCpu, type NamedFeature, POLICIES } from './dump.js';
import { escapeXml, type XmlElement } from './xml-reader.js';

/** Reads the children of an element; other children are left to the caller. */
export function readNamed(cpu: XmlElement, mode: string): NamedCpu {
  const features: NamedFeature[] = [];
  for (const element of cpu.children.filter(({ name }) => name === 'feature')) {
    const name = element.required('name');
    if (features.some((known) => known.name === name)) throw element.fail(`feature '${name}' stands twice`);
    const policy = element.attribute('policy') === undefined ? 'require' : element.oneOf('policy', POLICIES);
    features.push({ name, policy });
  }
  return {
    mode,
    model: cpu.child('model')?.text || null,
    vendor: cpu.child('vendor')?.text || null,
    features,
    offered: [],
  };
}

const X86 = ['x86_64', 'i686'];

/** Names of features mean other bits, or none, on other CPUs. Throws `malformed-input`. */
export function refuseOtherArch(element: XmlElement | undefined, arch: string | undefined): void {
  if (element && arch !== undefined && !X86.includes(arch))
    throw element.fail(`a CPU of ${arch}; only ${X86.join(' and ')} are read`);
}

/** Lines of XML with this indentation. */
export function namedLines({ model, vendor, features }: NamedCpu, indent: string): string[] {
  return [
    ...(model === null ? [] : [`<model fallback='forbid'>${escapeXml(model)}</model>`]),
    ...(vendor === null ? [] : [`<vendor>${escapeXml(vendor)}</vendor>`]),
    ...features.map(({ name, policy }) => `<feature policy='${policy}' name='${escapeXml(name)}'/>`),
  ].map((line) => `${indent}${line}`);
}
