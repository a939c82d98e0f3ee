/** The verdict that follows from host captures and identity alone: nothing is booted. */

import type { CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import { builtInDefinitions, type Definitions } from '../../corpora/definitions.js';
import { featureName } from '../../corpora/features.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { CpuIdentity, VcpuIdentity } from '../../corpora/identity.js';
import { KeptOf } from '../../corpora/kept.js';
import { type Reason, reason, type Verdict } from '../../corpora/verdict.js';
import { sweepCpuid } from '../../guest-probes/sweep.js';
import { withAdditions, withoutBits } from '../../reference-vmm/cpu-model/additions.js';
import { alterations, shortfallReasons } from '../../reference-vmm/cpu-model/differences.js';
import { isOpen } from '../../reference-vmm/cpu-model/msrs.js';
import { shortfalls } from '../../reference-vmm/cpu-model/offered.js';
import { releaseHasModel } from '../../reference-vmm/cpu-model/resolve.js';
import { msrLimitReasons } from '../../reference-vmm/msr-limits.js';
import { vcpuLimitReasons } from '../../reference-vmm/vcpu-limits.js';
import { msrBlockers } from '../hosts/questions/blockers.js';
import { expectedAnswer } from '../oracle/expected-cpuid.js';
import type { SubjectOnHost } from '../subjects/qemu/on-qemu.js';
import type { Cell } from './cell.js';

export interface PredictOptions {
  readonly allowAltered: boolean;
  readonly forceFeatures: boolean;
  /** Which releases have which machine types; default: those of the package. */
  readonly definitions?: Definitions;
}

export interface Prediction {
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
}

/**
 * `refused` where a host of the path lacks a bit or adds one, or does not know an MSR that travels; where additions are allowed `altered`,
 * or `changed` where not all hosts of the path make the same of the table; else `identical`.
 */
export function predict(
  cell: Pick<Cell, 'identity' | 'hosts'> & Partial<Pick<Cell, 'scenario'>>,
  options: PredictOptions,
): Prediction {
  const [first] = cell.hosts;
  const unknown = cell.hosts.find(
    ({ subject }) => subject && !mayHave(subject, cell.identity.machine, options.definitions),
  );
  if (unknown) return { verdict: 'refused', reasons: [unknownMachine(unknown.subject!, cell.identity.machine)] };
  const older = cell.hosts.find(({ subject }) => subject && !mayHaveModel(subject, cell.identity, options.definitions));
  if (older) return { verdict: 'refused', reasons: [unknownModel(older.subject!, cell.identity)] };
  if (cell.scenario === 'live-snapshot' && first?.subject?.emulator === '5.2') return NO_BACKGROUND_SNAPSHOT;
  // An emulator is forced to show what it lacks.
  if (cell.hosts.every(({ subject }) => subject?.accel === 'tcg')) return { verdict: 'identical', reasons: [] };
  const hosts = [...new Set(cell.hosts)].map((host) => host.capabilities);
  const each = hosts.flatMap((host) => cell.identity.vcpus.map((vcpu) => onHost(vcpu, host, options)));
  const lacking = each.flatMap(({ missing }) => missing);
  const open = isOpen(cell.identity);
  const limits = [
    ...hosts.flatMap((host) => vcpuLimitReasons(cell.identity, host, 'predicted')),
    ...hosts.flatMap((host) => msrLimitReasons(host, 'predicted')),
    ...(open ? hosts.slice(1).flatMap((host) => msrBlockers(hosts[0]!, host)) : []),
  ];
  const added = each.flatMap(({ added }) => added);
  if (lacking.length + limits.length > 0) return { verdict: 'refused', reasons: [...lacking, ...limits] };
  if (added.length > 0 && !options.allowAltered) return { verdict: 'refused', reasons: added };
  if (added.length > 0) return { verdict: alterAlike(cell, hosts) ? 'altered' : 'changed', reasons: added };
  return { verdict: 'identical', reasons: [] };
}

/** False for a release that is known not to have the machine type. */
function mayHave({ version, emulator }: SubjectOnHost, machine: string, definitions = builtInDefinitions()): boolean {
  const { follows, releases } = definitions.machine(machine);
  return follows || !version.startsWith(`${emulator}.`) || releases.includes(emulator);
}

/** False for a release that is known not to have the model there. */
const mayHaveModel = (
  { version, emulator }: SubjectOnHost,
  { machine, cpuModel }: CpuIdentity,
  definitions?: Definitions,
): boolean => !version.startsWith(`${emulator}.`) || releaseHasModel(emulator, machine, cpuModel, definitions);

const unknownModel = ({ name }: SubjectOnHost, { cpuModel }: CpuIdentity): Reason =>
  reason({
    ...{ code: 'qemu-cpu-model', step: 'predicted', layer: 'monitor' },
    message: `${name} has no CPU model ${cpuModel}`,
  });

const unknownMachine = ({ name }: SubjectOnHost, machine: string): Reason =>
  reason({
    ...{ code: 'qemu-machine-type', step: 'predicted', layer: 'monitor' },
    message: `${name} has no machine type ${machine}`,
  });

const NO_BACKGROUND_SNAPSHOT: Prediction = {
  verdict: 'refused',
  reasons: [
    reason({
      ...{ code: 'qemu-migration', step: 'predicted', layer: 'monitor' },
      message: 'QEMU saves a running guest (background-snapshot) since 6.0',
    }),
  ],
};

/** True where a guest sees the same on every host of its path, altered as it is. */
function alterAlike({ identity }: Pick<Cell, 'identity'>, hosts: readonly HostCapabilities[]): boolean {
  if (hosts.length === 1) return true;
  const shown = hosts.map((host) => JSON.stringify(identity.vcpus.map(({ cpuid }) => seenOf(shownBy(host, cpuid)))));
  return new Set(shown).size === 1;
}

/** What a kernel makes of a table. */
const shownBy = ({ cpuidAdditions, cpuidRemovals }: HostCapabilities, cpuid: CpuidTable): CpuidTable =>
  withAdditions(cpuidRemovals ? withoutBits(cpuid, cpuidRemovals) : cpuid, cpuidAdditions);

/** A row beyond the maximum of its range is not seen. */
const seenOf = (table: CpuidTable): CpuidRow[] =>
  sweepCpuid((leaf, subleaf) => expectedAnswer(table, leaf, subleaf, 'kvm'));

/** What a vCPU lacks on a host, and how it is shown otherwise there. */
interface OnHost {
  readonly missing: readonly Reason[];
  readonly added: readonly Reason[];
}

const known = new KeptOf<HostCapabilities, OnHost>();

const onHost = ({ index, cpuid }: VcpuIdentity, host: HostCapabilities, { forceFeatures }: PredictOptions): OnHost =>
  known.of(host).answer([index, forceFeatures, cpuid.content].join('|'), () => {
    const place = { step: 'predicted', vcpu: index, nameOf: featureName };
    // Another layout cannot be forced.
    const missing = shortfalls(cpuid, host).filter(({ kind }) => !forceFeatures || kind === 'xsave-layout');
    return {
      missing: shortfallReasons(missing, place),
      added: alterations(cpuid, shownBy(host, cpuid), place),
    };
  });
