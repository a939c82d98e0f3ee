/** `lab setup`, `lab list` and `lab up`. */
import { InputError } from '../../corpora/errors.js';
import { openLabHosts } from '../hosts/lab/pool.js';
import { type LabContents, type LabPlan, listLab, setupLab } from '../hosts/lab/setup.js';
import type { Progress } from '../packages/progress.js';
import { runnablePairsText } from './host-text.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf } from './pairs.js';
import { type Progress as ProgressLine, progressLine } from './progress.js';

export interface LabListOptions extends CommonOptions {
  readonly runnable?: boolean;
}
export type LabUpOptions = CommonOptions;
export interface LabSetupCliOptions extends CommonOptions {
  readonly suite?: readonly string[];
  readonly kernel?: readonly string[];
  readonly qemu?: readonly string[];
  readonly vmlinuz?: string;
  readonly modules?: string;
  readonly refresh?: boolean;
}

export async function labSetup(options: LabSetupCliOptions): Promise<void> {
  const { vmlinuz, modules } = options;
  if ((vmlinuz === undefined) !== (modules === undefined))
    throw new InputError('half-a-kernel', '--vmlinuz and --modules go together');
  const contents = await setupWithProgress({
    ...(options.suite ? { suites: options.suite } : {}),
    ...(options.kernel ? { versions: options.kernel } : {}),
    ...(options.qemu ? { qemus: options.qemu } : {}),
    ...(vmlinuz && modules ? { files: [{ vmlinuz, modules }] } : {}),
    refresh: options.refresh ?? false,
  });
  say(contents, options);
}

/** Sets the lab up; says on stderr what will be loaded, before it is. */
export async function setupWithProgress({
  refresh,
  ...request
}: Parameters<typeof setupLab>[0] & { readonly refresh?: boolean }): Promise<LabContents> {
  const line = progressLine();
  try {
    return await setupLab(request, {
      onProgress: shownOn(line),
      onPlan: (plan) => {
        line.end();
        warn(planText(plan));
      },
      ...(refresh ? { refresh } : {}),
    });
  } finally {
    line.end();
  }
}

export const shownOn =
  (line: ProgressLine): Progress =>
  ({ step, done, total }) =>
    line.update(done === null ? step : `${step} ${total ? `${Math.floor((100 * done) / total)} %` : mebibytes(done)}`);

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

function planText({ items, bytes }: LabPlan): string {
  if (bytes === 0) return 'the lab is in the cache: nothing to load';
  const missing = items.filter(({ cached }) => !cached).map((item) => `${item.name} ${mebibytes(item.bytes)}`);
  return `loading ${mebibytes(bytes)} for the lab: ${missing.join(', ')}`;
}

export async function labList(options: LabListOptions): Promise<void> {
  if (!options.runnable) return say(await listLab(), options);
  const { runnablePairs } = await import('../hosts/lab/runnable-pairs.js');
  const answer = await runnablePairs(definitionsOf(options.corpora));
  if (options.json) printJson('lab-runnable', answer);
  else print(runnablePairsText(answer, options.verbose ?? false));
}

function say({ root, qemu, kernels, cpus }: LabContents, { json }: CommonOptions): void {
  if (json) printJson('lab', { root, qemu, kernels, cpus });
  else
    print(
      [
        `cache ${root}`,
        `QEMU  ${qemu ?? 'not loaded: guest-abi lab setup'}`,
        ...kernels.map(({ id, origin }) => `lab:${id}  ${origin}`),
        ...cpus.map(({ name, note }) => `/${name}  ${note}`),
      ].join('\n'),
    );
}

export async function labUp(names: readonly string[], { json }: LabUpOptions): Promise<void> {
  const line = progressLine();
  const hosts = await openLabHosts(names.length > 0 ? names : ['*'], { onProgress: shownOn(line) }).finally(() =>
    line.end(),
  );
  try {
    const summaries = hosts.map(({ summary }) => summary);
    if (json) printJson('lab-up', { hosts: summaries });
    else print(summaries.map(({ id, kernel, module, note }) => `${id}  ${kernel} ${module}  ${note}`).join('\n'));
  } finally {
    await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
  }
}
