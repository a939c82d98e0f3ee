/** `npm run lives`: generated lives of guests on recorded, overlay, lab or local hosts; a finding is shrunk and told with the command that replays it. */
import { Command, CommanderError } from 'commander';
import { EXIT, type ExitCode } from '../../corpora/errors.js';
import { openHosts } from '../cli/hosts.js';
import { wholeNumber } from '../cli/options.js';
import { progressLine } from '../cli/progress.js';
import type { Host } from '../hosts/host.js';
import { OverlayHost } from '../hosts/overlay-host.js';
import { committedCaptures, openCapture } from '../hosts/recorded/open-capture.js';
import { altersCpuid } from '../hosts/summary.js';
import { toldAs } from '../soak/script.js';
import { type LivesEnd, movedTooFew, tryLives } from './lives.js';

interface Options {
  readonly runs: number;
  readonly seed: number;
  readonly time?: number;
  readonly events: number;
  readonly host: readonly string[];
  readonly smp: readonly string[];
  readonly forceFeatures?: boolean;
  readonly replay?: string;
  readonly json?: boolean;
}

const OVERLAY = 'overlay:';
const EVERY_CAPTURE = /^(recorded|overlay):\*$/;

async function main(options: Options): Promise<void> {
  const names = options.host.flatMap((name) => {
    const [, kind] = EVERY_CAPTURE.exec(name) ?? [];
    return kind ? committedCaptures().map((capture) => `${kind}:${capture}`) : [name];
  });
  const captures = names.filter((name) => name.startsWith(OVERLAY)).map((name) => name.slice(OVERLAY.length));
  await using opened = await openHosts(names.filter((name) => !name.startsWith(OVERLAY)));
  const overlays = await Promise.all(
    captures.map(async (name) => OverlayHost.open(name, (await openCapture(name)).host)),
  );
  const hosts: readonly Host[] = [...opened.hosts, ...overlays];
  const progress = progressLine();
  const started = performance.now();
  const [path, replayPath] = options.replay?.split(',') ?? [];
  const end = await tryLives(hosts, {
    ...{ runs: options.runs, seed: options.seed, maxEvents: options.events, shapes: options.smp },
    ...(options.time === undefined ? {} : { timeMs: options.time * 1000 }),
    ...(path === undefined ? {} : { replay: { path, replayPath: replayPath ?? '' } }),
    allowAltered: hosts.some(({ capabilities }) => altersCpuid(capabilities)),
    forceFeatures: options.forceFeatures ?? false,
    onLife: (lives) => progress.update(`${lives}/${options.runs} lives`),
  });
  progress.end();
  const seconds = (performance.now() - started) / 1000;
  if (options.json) console.log(JSON.stringify(toJson(end, hosts, seconds), null, 1));
  else console.log(toText(end, hosts, seconds, options));
  process.exitCode = exitOf(end, tooFew(end, hosts, options));
}

/** Where the hosts are of several kernels, lives must go from one to another. One that is played again shows only itself. */
const tooFew = ({ distribution }: LivesEnd, hosts: readonly Host[], { replay }: Options): boolean =>
  replay === undefined && new Set(hosts.map(({ summary }) => summary.kernel)).size > 1 && movedTooFew(distribution);

function exitOf(end: LivesEnd, few: boolean): ExitCode {
  if (end.finding) return EXIT.broken;
  return few || end.distribution.lives === 0 ? EXIT.cannot : EXIT.holds;
}

const listed = (counts: ReadonlyMap<string, number>): string =>
  [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');

function toText(end: LivesEnd, hosts: readonly Host[], seconds: number, options: Options): string {
  const { distribution, seed, finding } = end;
  const { lives, movedBetweenKernels, refusedMoves, steps, verdicts } = distribution;
  const share = (some: number): string => `${some} lives (${lives === 0 ? 0 : Math.round((100 * some) / lives)} %)`;
  const lines = [
    `${lives} lives on ${hosts.length} hosts in ${seconds.toFixed(1)} s, seed ${seed}`,
    `  steps     ${listed(steps)}`,
    `  verdicts  ${listed(verdicts)}`,
    `  ${share(movedBetweenKernels)} hold an unchanged move between kernels of different versions, ${share(refusedMoves)} a refused one`,
  ];
  if (!finding && tooFew(end, hosts, options))
    return [...lines, 'TOO FEW: less than half of the lives moved unchanged between kernels; nothing is shown.'].join(
      '\n',
    );
  if (!finding) return [...lines, 'Every step came out as predicted: unchanged, or rightly refused.'].join('\n');
  const again = [
    `npm run lives -- --seed ${seed} --runs ${options.runs} --events ${options.events}`,
    ...options.host.map((name) => `--host '${name}'`),
    ...options.smp.map((shape) => `--smp ${shape}`),
    ...(options.forceFeatures ? ['--force-features'] : []),
    `--replay '${finding.path},${finding.replayPath}'`,
  ];
  return [...lines, `FOUND  ${finding.life}`, `  ${finding.why}`, `  again: ${again.join(' ')}`].join('\n');
}

const toJson = ({ distribution, seed, finding }: LivesEnd, hosts: readonly Host[], seconds: number): unknown => ({
  schema: 'guest-abi/lives/1',
  hosts: hosts.map(({ summary }) => summary.id),
  ...{ seed, seconds, lives: distribution.lives },
  ...{ movedBetweenKernels: distribution.movedBetweenKernels, refusedMoves: distribution.refusedMoves },
  steps: Object.fromEntries(distribution.steps),
  verdicts: Object.fromEntries(distribution.verdicts),
  finding,
});

const collect = (value: string, before: readonly string[] | undefined): string[] => [...(before ?? []), value];

const command = new Command('lives')
  .option('--runs <n>', 'lives to try', wholeNumber('--runs', 1), 200)
  .option('--seed <n>', 'of the generator', wholeNumber('--seed'), 1)
  .option('--time <seconds>', 'stop after so long, with what was tried', wholeNumber('--time', 1))
  .option('--events <n>', 'most events of one life', wholeNumber('--events', 1), 24)
  .option(
    '--host <host>',
    "local, lab:..., ssh:..., recorded:..., overlay:CAPTURE; '*' for every capture (default recorded:*)",
    collect,
  )
  .option('--smp <shape>', 'SMP shapes to choose from (default 1)', collect)
  .option('--force-features', 'expose features that a host does not offer')
  .option('--replay <path,replayPath>', 'play one finding again')
  .option('--json', 'one document on stdout')
  .action(({ host = ['recorded:*'], smp = ['1'], ...rest }: Partial<Options>) =>
    main({ ...(rest as Options), host, smp }),
  );

try {
  await command.exitOverride().parseAsync();
} catch (error) {
  // Commander has told it.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.holds : EXIT.usage;
  else process.exitCode = toldAs('lives')(error);
}
