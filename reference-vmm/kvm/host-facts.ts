/** Which kernel, KVM module and CPU this machine is: from uname, /sys/module and /proc/cpuinfo. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { release, version } from 'node:os';
import type { HostFacts } from '../../corpora/host-capabilities.js';

/** Modules that drive KVM, in the order in which they are looked for. */
const VENDOR_MODULES = ['kvm_amd', 'kvm_intel', 'kvm_pvm'];

/** Reads the facts anew. Whatever does not show is left out, never invented. */
export function readHostFacts(): HostFacts {
  const module = VENDOR_MODULES.find((name) => existsSync(`/sys/module/${name}`)) ?? 'unknown';
  const cpu = readCpuInfo();
  return {
    kernel: release(),
    kernelVersion: version(),
    module,
    moduleParameters: Object.fromEntries([...parametersOf('kvm'), ...parametersOf(module)]),
    cpuVendor: cpu.get('vendor_id') ?? 'unknown',
    cpuModel: cpu.get('model name') ?? 'unknown',
    microcode: cpu.get('microcode') ?? null,
  };
}

function parametersOf(module: string): [string, string][] {
  const folder = `/sys/module/${module}/parameters`;
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .flatMap((name): [string, string][] => {
      try {
        return [[`${module}.${name}`, readFileSync(`${folder}/${name}`, 'utf8').trim()]];
      } catch {
        // Some parameters can be written only.
        return [];
      }
    });
}

/** The first processor of /proc/cpuinfo. */
function readCpuInfo(): ReadonlyMap<string, string> {
  const first = readFileSync('/proc/cpuinfo', 'utf8').split('\n\n')[0]!;
  return new Map(
    first.split('\n').map((line): [string, string] => {
      const [key, ...value] = line.split(':');
      return [key!.trim(), value.join(':').trim()];
    }),
  );
}
