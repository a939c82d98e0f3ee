/** The verdict that follows from host captures and identity alone: nothing is booted. */

import type { CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import { builtInDefinitions, type Definitions } from '../../corpora/definitions.js';
import { featureName } from '../../corpora/features.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { CpuIdentity, VcpuIdentity } from '../../corpora/identity.js';
import { KeptOf } from '../../corpora/kept.js';
import { parsePair } from '../../corpora/pair.js';
import { type Reason, reason, type Verdict } from '../../corpora/verdict.js';
import { sweepCpuid } from '../../guest-probes/sweep.js';
import { withAdditions, withoutBits } from '../../reference-vmm/cpu-model/additions.js';
import { alterations, shortfallReasons } from '../../reference-vmm/cpu-model/differences.js';
import { isOpen } from '../../reference-vmm/cpu-model/msrs.js';
import { shortfalls } from '../../reference-vmm/cpu-model/offered.js';
import { releaseHasModel, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { msrLimitReasons } from '../../reference-vmm/msr-limits.js';
import { vcpuLimitReasons } from '../../reference-vmm/vcpu-limits.js';
import type { Host } from '../hosts/host.js';
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
  /** Why each host of the path refuses the guest, in its order: none where it takes it. */
  readonly refusals: readonly (readonly Reason[])[];
}

type Predicted = Pick<Cell, 'identity' | 'hosts'> & Partial<Pick<Cell, 'scenario'>>;

/**
 * `refused` where a host of the path lacks a bit or adds one, or does not know an MSR that travels; where additions are allowed `altered`,
 * or `changed` where not all hosts of the path make the same of the table; else `identical`.
 */
export function predict(cell: Predicted, options: PredictOptions): Prediction {
  const on = new Map([...new Set(cell.hosts)].map((host) => [host, onPlace(host, cell, options)]));
  const refusals = cell.hosts.map((host) => on.get(host)!.refusals);
  const reasons = [...on.values()].flatMap((place) => place.refusals);
  if (reasons.length > 0) return { verdict: 'refused', reasons, refusals };
  const added = [...on.values()].flatMap((place) => place.added);
  if (added.length === 0) return { verdict: 'identical', reasons: [], refusals };
  const capabilities = [...on.keys()].map((host) => host.capabilities);
  return { verdict: alterAlike(cell, capabilities) ? 'altered' : 'changed', reasons: added, refusals };
}

/** Why a host of the path refuses the guest, and what it adds to it otherwise. */
interface OnPlace {
  readonly refusals: readonly Reason[];
  readonly added: readonly Reason[];
}

/** The first that ends it there: QEMU's names, what the host lacks, what its QEMU cannot do, what its kernel adds. */
function onPlace(host: Host, cell: Predicted, options: PredictOptions): OnPlace {
  const { identity, hosts, scenario } = cell;
  const [first] = hosts;
  const { subject, capabilities } = host;
  const refused = (refusals: readonly Reason[]): OnPlace => ({ refusals, added: [] });
  if (subject && !mayHave(subject, identity.machine, options.definitions))
    return refused([unknownMachine(subject, identity.machine)]);
  if (subject && !mayHaveModel(subject, identity, options.definitions))
    return refused([unknownModel(subject, identity)]);
  // An emulator is forced to show what it lacks.
  const emulated = hosts.every((one) => one.subject?.accel === 'tcg');
  const each = emulated ? [] : identity.vcpus.map((vcpu) => onHost(vcpu, capabilities, options));
  const limits = emulated
    ? []
    : [
        ...vcpuLimitReasons(identity, capabilities, 'predicted'),
        ...msrLimitReasons(capabilities, 'predicted'),
        ...(isOpen(identity) && host !== first ? msrBlockers(first!.capabilities, capabilities) : []),
      ];
  const missing = each.flatMap((one) => one.missing);
  const lacking = [
    ...(subject ? missing.filter(isAskedOf(subject, identity, capabilities, options.definitions)) : missing),
    ...limits,
  ];
  if (lacking.length > 0) return refused(lacking);
  if (scenario === 'live-snapshot' && host === first && subject?.emulator === '5.2')
    return refused([NO_BACKGROUND_SNAPSHOT]);
  const added = each.flatMap((one) => one.added);
  return options.allowAltered ? { refusals: [], added } : refused(added);
}

/** What the SMP shape adds, not the model: QEMU 5.2 and 7.2 add it when the host has been asked for all else, and KVM takes it. */
function isAskedOf(
  { emulator }: SubjectOnHost,
  { pair }: CpuIdentity,
  host: HostCapabilities,
  definitions = builtInDefinitions(),
): (reason: Reason) => boolean {
  const late = definitions.deviations.find(({ id }) => id === 'smp-bits-after-levels');
  if (!late?.releases.includes(emulator)) return () => true;
  const { features } = resolve({ ...parsePair(pair), definitions, host });
  return ({ feature }) => (feature !== 'ht' && feature !== 'cmp-legacy') || features.includes(feature);
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

const NO_BACKGROUND_SNAPSHOT = reason({
  ...{ code: 'qemu-migration', step: 'predicted', layer: 'monitor' },
  message: 'QEMU saves a running guest (background-snapshot) since 6.0',
});

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
