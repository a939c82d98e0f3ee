/** The questions that managers ask of hosts: asked, answered, printed. */
import { EXIT, type ExitCode } from '../../corpora/errors.js';
import { writeFileWhole } from '../../corpora/write-file.js';
import { formatCapture } from '../hosts/capture-file.js';
import { baselineText, diffText, featuresText, runnableText, waysText } from './host-text.js';
import { namedHosts, oneHost } from './named-hosts.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf } from './pairs.js';

export interface HostOptions extends CommonOptions {
  readonly host: string;
}
export interface CaptureOptions extends HostOptions {
  readonly from?: string;
  readonly out?: string;
}
export interface MachineOptions extends CommonOptions {
  readonly machine: string;
}
export interface GuestOptions extends MachineOptions {
  readonly cpu: string;
  readonly smp?: string;
}

export async function captureHost({ host: name, from, out }: CaptureOptions): Promise<ExitCode> {
  const { host, origin } = await captured(name, from);
  const text = formatCapture(host, origin);
  if (out === undefined) print(text);
  else {
    writeFileWhole(out, [Buffer.from(text)]);
    warn(`${origin}: ${host.facts.kernel} on ${host.facts.cpuModel} written to ${out}`);
  }
  return EXIT.holds;
}

async function captured(name: string, from: string | undefined) {
  if (from !== undefined) {
    const { openCapture } = await import('../hosts/recorded/open-capture.js');
    return openCapture(from);
  }
  const { id, host, origin = id } = await oneHost(name);
  return { host, origin };
}

export async function features(options: HostOptions): Promise<ExitCode> {
  const { hostFeatures } = await import('../hosts/questions/features.js');
  const { id, host } = await oneHost(options.host);
  const found = hostFeatures(host);
  if (options.json) printJson('host-features', { host: id, facts: host.facts, features: found });
  else print(featuresText(id, host, found));
  return EXIT.holds;
}

export async function runnable(options: HostOptions & MachineOptions): Promise<ExitCode> {
  const { runnable: ask } = await import('../hosts/questions/runnable.js');
  const definitions = definitionsOf(options.corpora);
  const { id, host } = await oneHost(options.host);
  const models = ask(host, options.machine, definitions);
  if (options.json) printJson('host-runnable', { host: id, machine: options.machine, models });
  else print(runnableText(id, options.machine, models));
  return EXIT.holds;
}

export async function canMove(names: readonly string[], options: GuestOptions): Promise<ExitCode> {
  const { canMove: ask } = await import('../hosts/questions/can-move.js');
  const { machine, cpu, smp } = options;
  const definitions = definitionsOf(options.corpora);
  const hosts = await namedHosts(names);
  const ways = ask(hosts, { machine, cpu, definitions, ...(smp === undefined ? {} : { smp }) });
  const pair = `${machine}/${cpu}`;
  if (options.json) printJson('host-can-move', { pair, smp: smp ?? '1', ways });
  else print(waysText(pair, ways, options.verbose ?? false));
  return ways.every(({ possible }) => possible) ? EXIT.holds : EXIT.cannot;
}

export async function baseline(names: readonly string[], options: MachineOptions): Promise<ExitCode> {
  const { baseline: ask } = await import('../hosts/questions/baseline.js');
  const hosts = await namedHosts(names);
  const answer = ask(hosts, options.machine, definitionsOf(options.corpora));
  const ids = hosts.map(({ id }) => id);
  if (options.json) printJson('host-baseline', { hosts: ids, ...answer });
  else print(baselineText(ids, answer));
  return EXIT.holds;
}

export async function diff(before: string, after: string, options: CommonOptions): Promise<ExitCode> {
  const { hostDiff } = await import('../hosts/questions/diff.js');
  const answer = hostDiff(await oneHost(before), await oneHost(after), definitionsOf(options.corpora));
  if (options.json) printJson('host-diff', answer);
  else print(diffText(answer, options.verbose ?? false));
  return EXIT.holds;
}
