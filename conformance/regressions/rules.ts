/** Resolver rules that are wrong: what a monitor's CPU code did where it broke guests, put behind the resolver that is right. */
import { CpuidTable } from '../../corpora/cpuid.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { CpuIdentity, MsrValue, VcpuIdentity } from '../../corpora/identity.js';
import type { Mutant } from '../../corpora/regressions.js';
import { FEATURE_WORDS } from '../../reference-vmm/cpu-model/offered.js';
import { becomes, clearBits, type FieldBits, parseField, setBits, withFields } from './fields.js';

type ResolverMutant = Extract<Mutant, { kind: 'resolver' }>;

interface RuleContext {
  readonly identity: CpuIdentity;
  readonly host: HostCapabilities;
  readonly fields: FieldBits;
  /** What of it the rule takes: a leaf, a vendor. */
  readonly of: string;
}

type Rule = (table: CpuidTable, context: RuleContext) => CpuidTable;

/** 1.EDX bits that AMD repeats in 80000001.EDX: APM vol. 3, appendix E.4.2. */
const ALIASES = 0x0183f3ff;

const leafOf = (table: CpuidTable, text: string) => {
  const { leaf } = parseField(text);
  return table.rows.filter((row) => row.leaf === leaf);
};

const hexOf = (value: number): string => `0x${(value >>> 0).toString(16).padStart(8, '0')}`;

const RULES: Readonly<Record<string, Rule>> = {
  /** The leaf is passed on as GET_SUPPORTED_CPUID has it, on a host with these values. */
  'leaf-of-the-host': (table, { host, fields, of }) => {
    const { leaf } = parseField(of);
    const supported = withFields(host.supportedCpuid, fields, becomes, true);
    return new CpuidTable([...table.rows.filter((row) => row.leaf !== leaf), ...leafOf(supported, of)]);
  },
  /** One register is. */
  'register-of-the-host': (table, { host, of }) => {
    const { leaf, subleaf, register } = parseField(of);
    return withFields(table, { [of]: hexOf(host.supportedCpuid.value(leaf, subleaf, register!)) }, becomes, true);
  },
  /** Features that KVM_GET_SUPPORTED_CPUID does not list are dropped, and nobody is told. */
  'drops-what-is-not-listed': (table, { host }) => {
    const lacking = FEATURE_WORDS.map(([leaf, subleaf, register]) => {
      const place = `${leaf.toString(16)}${subleaf === null ? '' : `.${subleaf.toString(16)}`}.${register}`;
      return [place.toUpperCase(), hexOf(~host.supportedCpuid.value(leaf, subleaf, register))] as const;
    });
    return withFields(table, Object.fromEntries(lacking), clearBits);
  },
  /** A constant of the code, for every CPU that has the row. */
  constant: (table, { fields }) => withFields(table, fields, becomes),
  'sets-bits': (table, { fields }) => withFields(table, fields, setBits),
  'makes-rows': (table, { fields }) => withFields(table, fields, setBits, true),
  'clears-bits': (table, { fields }) => withFields(table, fields, clearBits),
  /** The row of one leaf stands at another, in place of what was there. */
  'moves-leaf': (table, { of }) => {
    const [from, to] = of.split(' ').map((text) => parseField(text).leaf);
    const others = table.rows.filter(({ leaf }) => leaf !== to);
    return new CpuidTable(others.map((row) => (row.leaf === from ? { ...row, leaf: to! } : row)));
  },
  /** 80000001.EDX repeats 1.EDX, whatever the vendor. */
  'aliases-for-every-vendor': (table) =>
    withFields(table, { '80000001.EDX': hexOf(table.value(1, null, 'edx') & ALIASES) }, setBits),
  /** It does so for no vendor. */
  'aliases-for-no-vendor': (table) => withFields(table, { '80000001.EDX': hexOf(ALIASES) }, clearBits),
  /** The level is the model's, however high the features that were added stand. */
  'level-stays': (table, { fields }) => {
    const level = Number(Object.values(fields)[0]);
    const kept = table.rows.filter(({ leaf }) => leaf <= level || leaf >= 0x40000000);
    return withFields(new CpuidTable(kept), fields, becomes);
  },
  /** Every vCPU has what the first has. */
  'table-of-the-first': (_table, { identity }) => identity.vcpus[0]!.cpuid,
  /** APIC ids count the vCPUs, though the topology says otherwise. */
  'contiguous-core-ids': (table, { fields }) => withFields(table, fields, clearBits),
};

/** Rules about MSRs: what the identity says that they hold. */
const MSR_RULES: Readonly<Record<string, (msrs: readonly MsrValue[], context: RuleContext) => readonly MsrValue[]>> = {
  /** A feature MSR is passed on as the host has it. */
  'feature-msr-of-the-host': (msrs, { host, of }) =>
    msrs.map((msr) => {
      const own = host.featureMsrs.find(({ index }) => index === Number(of));
      return msr.index === Number(of) ? { ...msr, value: own?.value ?? 0n } : msr;
    }),
};

/** Names of all rules. */
export const ruleNames = (): string[] => [...Object.keys(RULES), ...Object.keys(MSR_RULES)];

/** The identity as a resolver with this rule makes it. Throws `RangeError` for a rule that does not exist. */
export function ruled(identity: CpuIdentity, host: HostCapabilities, mutant: ResolverMutant): CpuIdentity {
  const context: RuleContext = { identity, host, fields: mutant.fields ?? {}, of: mutant.of ?? '' };
  const aboutMsrs = MSR_RULES[mutant.rule];
  if (aboutMsrs) return { ...identity, msrs: aboutMsrs(identity.msrs, context) };
  const rule = RULES[mutant.rule];
  if (!rule) throw new RangeError(`no rule '${mutant.rule}'`);
  const isWrong = ({ index }: VcpuIdentity): boolean => mutant.vcpus?.includes(index) ?? true;
  const vcpus = identity.vcpus.map((vcpu) => (isWrong(vcpu) ? { ...vcpu, cpuid: rule(vcpu.cpuid, context) } : vcpu));
  return { ...identity, msrs: identity.msrs, vcpus };
}
