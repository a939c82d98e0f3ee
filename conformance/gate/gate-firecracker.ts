/** A Firecracker template on a fleet: it is `host` with some bits pinned; every open bit in which the hosts differ is a guest that changes. */
import { type CpuidField, type CpuidRow, fieldName, REGISTERS } from '../../corpora/cpuid.js';
import { InputError } from '../../corpora/errors.js';
import { featureName } from '../../corpora/features.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import { msrLabel } from '../../corpora/msrs.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { FEATURE_WORDS, offeredBits } from '../../reference-vmm/cpu-model/offered.js';
import type { CpuDump, DumpedCpu } from '../formats/dump.js';
import { firecrackerTemplate } from '../formats/firecracker-template.js';
import type { NamedHost } from '../hosts/questions/named-host.js';
import { sorted } from './findings.js';
import { normalizedBits } from './firecracker-normalization.js';
import type { GateFinding, GateResult } from './result.js';

/** Throws `InputError`: `malformed-input` for a file that is no template, `few-hosts` where nothing can differ. */
export function gateTemplate(file: string, text: string, hosts: readonly NamedHost[]): GateResult {
  const { dump, losses } = firecrackerTemplate.parse(text);
  const cpu = dump.cpus[0];
  if (!cpu) throw new InputError('malformed-input', `${file}: a template without modifiers`, { given: file });
  // A host that is given twice differs from itself in nothing.
  if (new Set(hosts.map(({ id }) => id)).size < 2)
    throw new InputError(
      'few-hosts',
      `a template is held to the hosts of a fleet: give two --host or more, each another`,
      {
        given: hosts.map(({ id }) => id).join(' '),
      },
    );
  const template = new Template(cpu);
  const places = placesOf(hosts);
  const open = [
    ...places.map((place) => openReasons(place, template, hosts)),
    ...msrIndicesOf(hosts, template).map((index) => openMsr(index, template, hosts)),
  ];
  const lacking = notOffered(template, hosts);
  const findings = [
    ...findingOf('unpinned', open.flat(), file, OPEN_EFFECT),
    ...findingOf('removed', lacking, file, LACKING_EFFECT),
  ];
  const broken = open.filter(({ length }) => length > 0).length;
  return {
    ...{ base: hosts.map(({ id }) => id).join(', '), head: `firecracker:${file}`, subject: 'CPUID leaves and MSRs' },
    ...{ held: [], findings, added: [], removed: [], notes: [...losses, ...capabilitiesNote(dump.facts)] },
    totals: {
      unchanged: open.length - broken,
      broken: broken + lacking.length,
      added: 0,
    },
  };
}

const capabilitiesNote = ({ kvm_capabilities: names }: CpuDump['facts']): string[] =>
  names ? [`kvm_capabilities are not compared with the hosts': ${names}`] : [];

const OPEN_EFFECT = 'where the template says nothing the guest sees its host, and something else after a move';
const LACKING_EFFECT = 'Firecracker does not start, or the guest finds what its host cannot do';

type Place = Pick<CpuidRow, 'leaf' | 'subleaf'>;

/** What a template pins. Firecracker finds rows by leaf and subleaf, whatever the flags say. */
class Template {
  readonly cpu: DumpedCpu;

  constructor(cpu: DumpedCpu) {
    this.cpu = cpu;
  }

  pinned({ leaf, subleaf, register }: CpuidField): { readonly mask: number; readonly value: number } {
    const row = this.cpu.cpuid.get(leaf, subleaf) ?? this.cpu.cpuid.get(leaf, subleaf === null ? 0 : subleaf || null);
    if (!row) return { mask: 0, value: 0 };
    const mask = this.cpu.mask ? this.cpu.mask.value(row.leaf, row.subleaf, register) : 0xffffffff;
    return { mask, value: row[register] };
  }

  msr(index: number): { readonly mask: bigint; readonly value: bigint } {
    const found = this.cpu.msrs.find((msr) => msr.index === index);
    return found && 'mask' in found ? found : { mask: 0n, value: 0n };
  }
}

const keyOf = ({ leaf, subleaf }: Place): string => `${leaf}.${subleaf}`;

/** Every row that any host's KVM offers, and the leaves that Firecracker takes from the host. */
function placesOf(hosts: readonly NamedHost[]): Place[] {
  const rows = hosts.flatMap(({ host }) => [
    ...host.supportedCpuid.rows,
    ...host.hostCpuid.rows.filter((row) =>
      REGISTERS.some((register) => fromHost({ ...row, register }, host.facts.cpuVendor)),
    ),
  ]);
  return [...new Map(rows.map((row) => [keyOf(row), { leaf: row.leaf, subleaf: row.subleaf }])).values()].sort(
    (a, b) => a.leaf - b.leaf || (a.subleaf ?? -1) - (b.subleaf ?? -1),
  );
}

const fromHost = (field: CpuidField, vendor: string): number => normalizedBits(field, vendor).host;

/** What a guest under the template reads on a host. Bits that Firecracker sets for itself are 0 on every host. */
function seenOn({ host }: NamedHost, field: CpuidField, template: Template): number {
  const { leaf, subleaf, register } = field;
  const { mask, value } = template.pinned(field);
  const { own, host: passed } = normalizedBits(field, host.facts.cpuVendor);
  const offered = (host.supportedCpuid.value(leaf, subleaf, register) & ~mask) | (value & mask);
  return (((offered & ~passed) | (host.hostCpuid.value(leaf, subleaf, register) & passed)) & ~own) >>> 0;
}

function openReasons(place: Place, template: Template, hosts: readonly NamedHost[]): Reason[] {
  return REGISTERS.flatMap((register) => {
    const field = { ...place, register };
    const values = hosts.map((host) => seenOn(host, field, template));
    const differing = values.reduce((bits, value) => bits | (value ^ values[0]!), 0) >>> 0;
    if (differing === 0) return [];
    const facts = {
      ...{ code: 'template-unpinned', step: 'template', leaf: hex32(place.leaf), register, layer: 'kernel' as const },
      subleaf: place.subleaf === null ? null : hex32(place.subleaf),
    };
    if (!isFeatureWord(field)) {
      const message = `CPUID ${fieldName(field)}: open, and ${byValue(hosts, values.map(hex32))}`;
      return [
        reason({ ...facts, contract: hex32(values[0]!), guest: hex32(values.find((v) => v !== values[0])!), message }),
      ];
    }
    return bitsIn(differing).map((bit) => {
      const name = featureName(field, bit);
      const shown = values.map((value) => `${(value >>> bit) & 1}`);
      const message = `CPUID ${fieldName(field, bit)}${name ? ` (${name})` : ''}: open, and ${byValue(hosts, shown)}`;
      return reason({
        ...facts,
        bit,
        feature: name ?? null,
        contract: hex32(values[0]!),
        guest: hex32((values[0]! ^ (1 << bit)) >>> 0),
        message,
      });
    });
  });
}

const isFeatureWord = ({ leaf, subleaf, register }: CpuidField): boolean =>
  FEATURE_WORDS.some((word) => word[0] === leaf && word[1] === subleaf && word[2] === register);

/** `1 on A, B; 0 on C` */
function byValue(hosts: readonly NamedHost[], values: readonly string[]): string {
  const groups = new Map<string, string[]>();
  for (const [i, { id }] of hosts.entries()) groups.set(values[i]!, [...(groups.get(values[i]!) ?? []), id]);
  return [...groups].map(([value, ids]) => `${value} on ${ids.join(', ')}`).join('; ');
}

const bitsIn = (word: number): number[] =>
  Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (word >>> bit) & 1);

const VMX = 1 << 5;
const isVmx = (index: number): boolean => index >= 0x480 && index < 0x4a0;

/** MSRs whose values follow the host; those of VMX where some guest has it. */
function msrIndicesOf(hosts: readonly NamedHost[], template: Template): number[] {
  const vmx = hosts.some((host) => seenOn(host, { leaf: 1, subleaf: null, register: 'ecx' }, template) & VMX);
  const indices = new Set(hosts.flatMap(({ host }) => host.featureMsrs.map(({ index }) => index)));
  return [...indices].filter((index) => vmx || !isVmx(index)).sort((a, b) => a - b);
}

function openMsr(index: number, template: Template, hosts: readonly NamedHost[]): Reason[] {
  const { mask, value } = template.msr(index);
  const values = hosts.map(({ host }) => {
    const own = host.featureMsrs.find((msr) => msr.index === index);
    return own ? hex64((own.value & ~mask) | value) : 'absent';
  });
  if (new Set(values).size === 1) return [];
  const message = `${msrLabel(index)}: open, and ${byValue(hosts, values)}`;
  return [reason({ code: 'template-unpinned', step: 'template', layer: 'kernel', msr: hex32(index), message })];
}

/** Firecracker refuses a modifier of a row or MSR that KVM does not have; a bit pinned to 1 that is not offered misleads the guest. */
function notOffered(template: Template, hosts: readonly NamedHost[]): Reason[] {
  const said = (message: string, facts: Partial<Reason> = {}): Reason =>
    reason({ code: 'template-not-offered', step: 'template', layer: 'kernel', ...facts, message });
  return hosts.flatMap(({ id, host }) => [
    ...template.cpu.cpuid.rows.flatMap((row) => {
      const { leaf, subleaf } = row;
      const there =
        host.supportedCpuid.get(leaf, subleaf) ?? host.supportedCpuid.get(leaf, subleaf === null ? 0 : subleaf || null);
      const name = fieldName({ leaf, subleaf, register: 'eax' }).replace(/\.EAX$/, '');
      const place = { leaf: hex32(leaf), subleaf: subleaf === null ? null : hex32(subleaf) };
      if (!there)
        return [
          said(`CPUID ${name}: the template modifies it, and ${id} does not have it: it does not start there`, place),
        ];
      return REGISTERS.flatMap((register) => {
        const field = { leaf, subleaf: there.subleaf, register };
        if (!isFeatureWord(field)) return [];
        const { mask, value } = template.pinned(field);
        const missing = value & mask & ~offeredBits(host, field) & ~normalizedBits(field, host.facts.cpuVendor).own;
        return bitsIn(missing >>> 0).map((bit) => {
          const feature = featureName(field, bit) ?? null;
          const what = `CPUID ${fieldName(field, bit)}${feature ? ` (${feature})` : ''}`;
          return said(`${what}: the template shows it, and ${id} does not offer it`, {
            ...place,
            register,
            bit,
            feature,
          });
        });
      });
    }),
    ...template.cpu.msrs
      .filter(({ index }) => !host.msrIndices.includes(index) && !host.featureMsrs.some((msr) => msr.index === index))
      .map(({ index }) =>
        said(`${msrLabel(index)}: the template modifies it, and ${id} does not have it`, { msr: hex32(index) }),
      ),
  ]);
}

function findingOf(
  kind: 'unpinned' | 'removed',
  reasons: readonly Reason[],
  file: string,
  effect: string,
): GateFinding[] {
  if (reasons.length === 0) return [];
  const cause = { file, line: 1, property: null, before: undefined, after: undefined, text: `${file}` };
  return [
    {
      kind,
      reasons: sorted(reasons),
      pairs: ['the template'],
      models: ['template'],
      machines: [],
      causes: [cause],
      effects: [effect],
      fix: [],
    },
  ];
}
