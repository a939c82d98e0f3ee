/** The names of all formats; apart from the formats, so that help can list them without loading any. */
export const FORMAT_NAMES = [
  'json',
  'cpuid-raw',
  'kcpuid-raw',
  'aida64',
  'libvirt-cpudata',
  'libcpuid-raw',
  'firecracker-fingerprint',
  'firecracker-template',
  'firecracker-msr-csv',
  'feature-words',
  'libvirt-domain',
  'libvirt-domcapabilities',
  'cloud-hypervisor-profile',
] as const;
export type FormatName = (typeof FORMAT_NAMES)[number];
