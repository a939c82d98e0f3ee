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
import { json } from './json.js';
import { kcpuidRaw } from './kcpuid-raw.js';
import { libcpuidRaw } from './libcpuid-raw.js';
import { libvirtCpudata } from './libvirt-cpudata.js';
import { libvirtDomain } from './libvirt-domain.js';
import { libvirtDomcapabilities } from './libvirt-domcapabilities.js';

export const FORMATS: readonly Format[] = [
  json,
  cpuidRaw,
  kcpuidRaw,
  aida64,
  libvirtCpudata,
  libcpuidRaw,
  firecrackerFingerprint,
  firecrackerTemplate,
  firecrackerMsrCsv,
  featureWords,
  libvirtDomain,
  libvirtDomcapabilities,
  cloudHypervisorProfile,
];

const NAMES = FORMATS.map(({ name }) => name);

/** Throws `InputError` `unknown-format` naming all formats, the nearest ones first. */
export function formatNamed(name: string): Format {
  const format = FORMATS.find((known) => known.name === name);
  if (format) return format;
  const nearest = nearestNames(name, NAMES);
  const all = [...nearest, ...NAMES.filter((known) => !nearest.includes(known))];
  throw new InputError('unknown-format', `unknown format '${name}': ${all.join(', ')}`, { given: name, nearest });
}

/** The format of a text. Throws `InputError` `unrecognized-format` where it looks like none. */
export function recognize(text: string): Format {
  const format = FORMATS.find((known) => known.recognizes(text));
  if (format) return format;
  throw new InputError('unrecognized-format', `the format is not recognized; give --from: ${NAMES.join(', ')}`, {
    given: text.trimStart().split('\n', 1)[0]!.slice(0, 60),
  });
}

/** Reads a text of a format. Throws `InputError` `malformed-input` with line and column. */
export const parse = (format: string, text: string): Parsed => formatNamed(format).parse(text);

/** Writes a dump in a format. */
export const write = (format: string, dump: CpuDump): Written => formatNamed(format).write(dump);
