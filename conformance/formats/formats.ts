/** All formats, by name; recognizing one by its text. */
import { InputError, nearestNames } from '../../corpora/errors.js';
import { aida64 } from './aida64.js';
import { cloudHypervisorProfile } from './cloud-hypervisor-profile.js';
import { cpuidRaw } from './cpuid-raw.js';
import type { CpuDump } from './dump.js';
import { featureWords } from './feature-words.js';
import { firecrackerFingerprint } from './firecracker-fingerprint.js';
import { firecrackerMsrCsv } from './firecracker-msr-csv.js';
import { firecrackerTemplate } from './firecracker-template.js';
import type { Format, Parsed, Written } from './format.js';
import { FORMAT_NAMES, type FormatName } from './format-names.js';
import { json } from './json.js';
import { kcpuidRaw } from './kcpuid-raw.js';
import { libcpuidRaw } from './libcpuid-raw.js';
import { libvirtCpudata } from './libvirt-cpudata.js';
import { libvirtDomain } from './libvirt-domain.js';
import { libvirtDomcapabilities } from './libvirt-domcapabilities.js';

const BY_NAME: Readonly<Record<FormatName, Format>> = {
  json,
  'cpuid-raw': cpuidRaw,
  'kcpuid-raw': kcpuidRaw,
  aida64,
  'libvirt-cpudata': libvirtCpudata,
  'libcpuid-raw': libcpuidRaw,
  'firecracker-fingerprint': firecrackerFingerprint,
  'firecracker-template': firecrackerTemplate,
  'firecracker-msr-csv': firecrackerMsrCsv,
  'feature-words': featureWords,
  'libvirt-domain': libvirtDomain,
  'libvirt-domcapabilities': libvirtDomcapabilities,
  'cloud-hypervisor-profile': cloudHypervisorProfile,
};

export const FORMATS: readonly Format[] = FORMAT_NAMES.map((name) => BY_NAME[name]);

/** Throws `InputError` `unknown-format` naming all formats, the nearest ones first. */
export function formatNamed(name: string): Format {
  const format = FORMATS.find((known) => known.name === name);
  if (format) return format;
  const nearest = nearestNames(name, FORMAT_NAMES);
  const all = [...nearest, ...FORMAT_NAMES.filter((known) => !nearest.includes(known))];
  throw new InputError('unknown-format', `unknown format '${name}': ${all.join(', ')}`, { given: name, nearest });
}

/** The format of a text. Throws `InputError` `unrecognized-format` where it looks like none. */
export function recognize(text: string): Format {
  const format = FORMATS.find((known) => known.recognizes(text));
  if (format) return format;
  throw new InputError('unrecognized-format', `the format is not recognized; give --from: ${FORMAT_NAMES.join(', ')}`, {
    given: text.trimStart().split('\n', 1)[0]!.slice(0, 60),
  });
}

/** Reads a text of a format. Throws `InputError` `malformed-input` with line and column. */
export const parse = (format: string, text: string): Parsed => formatNamed(format).parse(text);

/** Writes a dump in a format. */
export const write = (format: string, dump: CpuDump): Written => formatNamed(format).write(dump);
