/** What the guest of a QEMU must see: its pair's contract under KVM, under TCG what the resolver makes of the pair with TCG's rules. */
import { builtInDefinitions, type Definitions } from '../../../corpora/definitions.js';
import { featureName } from '../../../corpora/features.js';
import type { CpuIdentity, MsrValue } from '../../../corpora/identity.js';
import { parsePair } from '../../../corpora/pair.js';
import { shownUnderQemu } from '../../../corpora/volatility/under-qemu.js';
import { alterations, DEFINITIONS } from '../../../reference-vmm/cpu-model/differences.js';
import { resetMsrs } from '../../../reference-vmm/cpu-model/msrs.js';
import type { Accelerator } from '../../../reference-vmm/cpu-model/properties.js';
import { resolve, unpromisedUnder } from '../../../reference-vmm/cpu-model/resolve.js';
import type { Host } from '../../hosts/host.js';
import type { MsrExpectation } from '../../probe-msrs.js';
import type { Cell } from '../../run/cell.js';
import { type CellExpectation, expectationOf } from '../../run/expectation.js';
import type { SubjectOnHost } from './on-qemu.js';

/** An expectation with what of the MSRs is compared. */
export interface QemuExpectation extends CellExpectation {
  readonly msrs: MsrExpectation;
}

/** `subject`: that of the first host of the path. */
export function qemuExpectation(cell: Cell, subject: SubjectOnHost, definitions?: Definitions): QemuExpectation {
  const contract = expectationOf(cell.identity, cell.smp, definitions);
  const identity = identityUnder(cell.identity, subject, cell.hosts[0]!, definitions);
  const evidence = [
    contract.evidence,
    ...(subject.accel === 'tcg' ? ["TCG's own answers resolved"] : []),
    ...disagreements(cell.identity, subject.emulator, definitions),
  ].join('; ');
  return { ...contract, vcpus: identity.vcpus, evidence, msrs: msrsUnder(identity, subject.accel) };
}

/**
 * The pair as this QEMU shows it there: TCG answers some fields in its own way, and forces what its own list hides; under KVM the XSAVE layout is the
 * host CPU's. An unversioned machine type is that of `release`: where the guest began.
 */
export function identityUnder(
  identity: CpuIdentity,
  { accel, emulator }: Pick<SubjectOnHost, 'accel' | 'emulator'>,
  host: Pick<Host, 'capabilities'>,
  definitions = builtInDefinitions(),
  release = emulator,
): CpuIdentity {
  const layout = host.capabilities.hostCpuid.value(0xd, 9, 'ebx') === INTEL_PKRU ? 'intel' : 'amd';
  const property = accel === 'tcg' ? 'x-force-features=on' : `xsave-layout=${layout}`;
  const [machine, cpu] = partsOf(identity.pair);
  const { smp } = identity;
  return resolve({
    ...{ machine, cpu: cpu.includes('xsave-layout=') ? cpu : `${cpu},${property}`, smp, accelerator: accel, emulator },
    ...{ definitions, ...(definitions.machine(machine).follows && { release }) },
  });
}

/** Where this release's tables are known to be others than the contract's, whatever the accelerator: by `machine-types/deviations.json`. */
function disagreements(identity: CpuIdentity, emulator: string, definitions?: Definitions): string[] {
  const [machine, cpu] = partsOf(identity.pair);
  const request = { machine, cpu, ...(definitions && { definitions }) };
  const ids = unpromisedUnder(emulator, request);
  if (ids.length === 0) return [];
  const theirs = resolve({ ...request, smp: identity.smp, emulator });
  const [first] = identity.vcpus.flatMap(({ index, cpuid }) =>
    alterations(cpuid, theirs.vcpus[index]!.cpuid, { step: 'resolve', vcpu: index, nameOf: featureName }, DEFINITIONS),
  );
  return first ? [`explained by ${ids.join(', ')}: ${first.message}`] : [];
}

/** Where Intel's layout has PKRU (SDM vol. 1, 13.4.2). */
const INTEL_PKRU = 0xa80;

function partsOf(pair: string): readonly [machine: string, cpu: string] {
  const { machine } = parsePair(pair);
  return [machine, pair.slice(machine.length + 1)];
}

/** QEMU denies no MSR: those that the identity lacks are not compared, and firmware ran before the probe. */
function msrsUnder(identity: CpuIdentity, accel: Accelerator): MsrExpectation {
  const shown = ({ index, value }: MsrValue): MsrValue[] => {
    const other = shownUnderQemu(index, accel, identity.features);
    if (typeof other === 'string') return [];
    return [{ index, value: other ?? value }];
  };
  const values = (vcpu: number): readonly MsrValue[] =>
    (vcpu === 0 ? identity.msrs : resetMsrs(identity, { vcpu })).flatMap(shown);
  const asked = identity.msrs
    .map(({ index }) => index)
    .filter((index) => shownUnderQemu(index, accel, identity.features) !== 'count');
  return { asked, values, others: 'not-compared' };
}
