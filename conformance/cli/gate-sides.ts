/** What `--base` and `--head` of `gate` name, and the gate for each two of them. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { InputError, unknownName } from '../../corpora/errors.js';
import type { CellResult } from '../../corpora/verdict.js';
import type { CheckFormat } from '../../reports/reporters.js';
import type { PairFilter } from '../gate/compare-definitions.js';
import type { GitGate } from '../gate/gate-git.js';
import type { GateResult } from '../gate/result.js';
import type { QemuLauncher } from '../packages/qemu-trees.js';
import { openHosts } from './hosts.js';
import { readInputText } from './input-text.js';
import { namedHosts } from './named-hosts.js';
import { globMatcher, isGlob } from './options.js';
import type { CommonOptions } from './output.js';
import { definitionsOf } from './pairs.js';
import { progressLine } from './progress.js';

export interface GateOptions extends CommonOptions {
  readonly base?: string;
  readonly head: string;
  readonly machine?: readonly string[];
  readonly cpu?: readonly string[];
  readonly host?: readonly string[];
  readonly jobs?: number;
  readonly log?: string;
  readonly resume?: string;
  readonly fix?: boolean;
  readonly format: 'text' | 'json' | CheckFormat;
}

export interface Gated {
  readonly result: GateResult;
  /** Mends the worktree; null where there is none to mend. */
  readonly patch: string | null;
  /** Boots of affected pairs; null where no host was given. */
  readonly boots: readonly CellResult[] | null;
}

type Side =
  | { readonly kind: 'git'; readonly ref: string | undefined }
  | { readonly kind: 'worktree' }
  | { readonly kind: 'qemu' | 'libvirt' | 'firecracker'; readonly path: string };

/** Throws `InputError`: `unknown-base`, `unknown-head`, and what the gates throw. */
export async function gateSides(options: GateOptions): Promise<Gated> {
  const [base, head] = [baseSide(options.base), headSide(options.head)];
  if (head.kind === 'worktree' && base.kind === 'git') return againstGit(base.ref, options);
  const alone = (result: GateResult): Gated => ({ result, patch: null, boots: null });
  if (head.kind === 'firecracker') return alone(await againstHosts(head.path, options));
  if (head.kind === 'libvirt') return alone(await cpuMap(head.path, base, options));
  if (head.kind === 'qemu' && base.kind === 'qemu') return alone(await qemus(base.path, head.path, options));
  if (head.kind === 'qemu' && options.base === undefined) return alone(await contractsUnder(head.path, options));
  throw new InputError(
    'unknown-base',
    `--base ${options.base ?? 'git'} and --head ${options.head} cannot be compared: git with worktree, qemu with qemu, git or libvirt with libvirt; contracts with a QEMU (no --base)`,
    { given: options.base ?? options.head },
  );
}

function baseSide(given: string | undefined): Side {
  const [, kind, path = ''] = /^(qemu|libvirt):(.+)$/s.exec(given ?? '') ?? [];
  if (kind) return { kind: kind as 'qemu' | 'libvirt', path };
  return { kind: 'git', ref: given?.replace(/^git:/, '') };
}

function headSide(given: string): Side {
  if (given === 'worktree') return { kind: 'worktree' };
  const [, kind, path = ''] = /^(qemu|libvirt|firecracker):(.+)$/s.exec(given) ?? [];
  if (kind) return { kind: kind as 'qemu' | 'libvirt' | 'firecracker', path };
  throw new InputError('unknown-head', `--head ${given}: give worktree, qemu:BINARY, libvirt:DIR or firecracker:FILE`, {
    given,
  });
}

async function againstGit(ref: string | undefined, options: GateOptions): Promise<Gated> {
  const { gateAgainstGit } = await import('../gate/gate-git.js');
  const gated = gateAgainstGit({ ref, corpora: options.corpora ?? [], wanted: knownFilter(options) });
  return { ...gated, boots: await booted(gated, options.host) };
}

/** Affected pairs on the hosts; nothing is opened where there are none. */
async function booted(gated: GitGate, names: readonly string[] | undefined): Promise<CellResult[] | null> {
  if (!names) return null;
  if (gated.affected.length === 0) return [];
  const { bootAffected } = await import('../gate/boot-affected.js');
  await using opened = await openHosts(names);
  return bootAffected(gated, opened.hosts);
}

async function againstHosts(file: string, { host = [] }: GateOptions): Promise<GateResult> {
  const { gateTemplate } = await import('../gate/gate-firecracker.js');
  const text = readInputText(file);
  return gateTemplate(file, text, await namedHosts(host));
}

async function cpuMap(folder: string, base: Side, options: GateOptions): Promise<GateResult> {
  if (!existsSync(folder))
    throw new InputError('no-such-folder', `--head libvirt:${folder}: no such folder`, { given: folder });
  const { gateMapAgainstDefinitions, gateMaps } = await import('../gate/gate-libvirt.js');
  if (base.kind === 'libvirt') return gateMaps(base.path, `libvirt:${base.path}`, folder);
  if (base.kind !== 'git' || options.base === undefined)
    return gateMapAgainstDefinitions(folder, definitionsOf(options.corpora));
  const { gitBase } = await import('../gate/git-base.js');
  using copies = gitBase(base.ref, [folder]);
  return gateMaps(copies.folders[0]!, copies.name, folder);
}

async function qemus(base: string, head: string, options: GateOptions): Promise<GateResult> {
  const { gateQemus } = await import('../gate/gate-qemu.js');
  const line = progressLine();
  const [one, other] = [await launcherOf(base), await launcherOf(head)];
  const log = await qemuLog(one, other, options);
  try {
    const result = await gateQemus(one, other, {
      ...{ wanted: pairFilter(options), ...(options.jobs && { workers: options.jobs }), ...(log && { log }) },
      onProgress: (done, total) => line.update(`${done} of ${total} pairs`),
    });
    log?.end(true);
    return result;
  } finally {
    line.end();
  }
}

async function contractsUnder(head: string, options: GateOptions): Promise<GateResult> {
  const { gateContracts } = await import('../gate/gate-qemu-contracts.js');
  const line = progressLine();
  try {
    return await gateContracts(await launcherOf(head), definitionsOf(options.corpora), {
      ...{ wanted: knownFilter(options), ...(options.jobs && { workers: options.jobs }) },
      onProgress: (done, total) => line.update(`${done} of ${total} guests`),
    });
  } finally {
    line.end();
  }
}

/** Where results go as they come; null where no log was asked for. One of other binaries is refused. */
async function qemuLog(base: QemuLauncher, head: QemuLauncher, { log, resume }: GateOptions) {
  if (log === undefined && resume === undefined) return null;
  const { LogWriter } = await import('../run/log-writer.js');
  const { tcgHost } = await import('../subjects/qemu/tcg-host.js');
  const run = { base: builtName(base), head: builtName(head) };
  const writer = resume === undefined ? LogWriter.create(run, log) : LogWriter.resume(run, resume);
  writer.host(tcgHost().summary);
  return writer;
}

/** A binary that was built anew has its old name and mostly its old version: by its content it is another. */
function builtName({ name, version }: QemuLauncher): string {
  const content = name.includes('/')
    ? ` ${createHash('sha256').update(readFileSync(name)).digest('hex').slice(0, 12)}`
    : '';
  return `qemu:${name} ${version}${content}`;
}

/** A release that we know how to get (`7.2`), or a binary. */
async function launcherOf(given: string): Promise<QemuLauncher> {
  const { QEMU_RELEASES, qemuBinary, qemuTree } = await import('../packages/qemu-trees.js');
  return (QEMU_RELEASES as readonly string[]).includes(given) ? qemuTree(given) : qemuBinary(given);
}

/** Globs over names. */
function pairFilter({ machine, cpu }: Pick<GateOptions, 'machine' | 'cpu'>): PairFilter {
  const [machines, models] = [machine, cpu].map((globs) => globs?.map(globMatcher));
  return (pair) =>
    (machines?.some((matches) => matches(pair.machine)) ?? true) &&
    (models?.some((matches) => matches(pair.model)) ?? true);
}

/** A machine type that is no glob must be one of the definitions: an edit that takes it away is found without naming it. */
function knownFilter(options: GateOptions): PairFilter {
  const { machines } = definitionsOf(options.corpora).machineIndex;
  const unknown = options.machine?.find((name) => !isGlob(name) && !machines.includes(name));
  if (unknown !== undefined) throw unknownName('machine type', unknown, machines);
  return pairFilter(options);
}
