/** What can happen to a guest, as commands of a fast-check model. */
import fc from 'fast-check';
import type { CpuIdentity } from '../../corpora/identity.js';
import type { GuestLife } from './guest-life.js';

/** What a command needs to know before it runs; the guest itself is in `GuestLife`. */
export interface LifeModel {
  /** What the pair resolves to after an upgrade; null where its machine type promises nothing. */
  readonly upgraded: ((pick: number) => CpuIdentity) | null;
}

type Command = fc.AsyncCommand<LifeModel, GuestLife>;

/** @param needs whether the guest can do it at all; a guest that is not alive does nothing */
function command(
  name: string,
  act: (life: GuestLife, model: LifeModel) => Promise<void>,
  needs: (life: GuestLife) => boolean = () => true,
): Command {
  return {
    check: () => true,
    run: async (model, life) => {
      if (life.alive && needs(life)) await act(life, model);
    },
    toString: () => name,
  };
}

const pick = fc.nat({ max: 10_000 });
const RESETS = ['reset-port', 'reset-keyboard', 'triple-fault', 'init'] as const;

/** Moves come often: they are where guests broke. */
export const lifeCommands: fc.Arbitrary<Command>[] = [
  fc.constant(command('dump', (life) => life.dump())),
  fc.constant(
    command(
      'set-xcr0',
      (life) => life.setXcr0(),
      (life) => life.canSetXcr0,
    ),
  ),
  pick.map((n) =>
    command(
      `write-msr(${n})`,
      (life) => life.writeMsr(n),
      (life) => life.canWriteMsrs,
    ),
  ),
  fc.constantFrom(...RESETS).map((how) =>
    command(
      how,
      (life) => life.reset(how),
      (life) => how !== 'init' || life.canInit,
    ),
  ),
  fc.constant(command('cold-start', (life) => life.coldStart('cold-start', 0))),
  pick.map((n) => command(`kernel-update(${n})`, (life) => life.coldStart('kernel-update', n))),
  fc.constant(command('snapshot', (life) => life.snapshot())),
  fc.constant(command('live-snapshot', (life) => life.liveSnapshot())),
  pick.map((n) =>
    command(
      `restore(${n})`,
      (life) => life.restore(n),
      (life) => life.hasSnapshot,
    ),
  ),
  ...[0, 1, 2, 3, 4, 5, 6, 7].map(() => pick.map((n) => command(`migrate(${n})`, (life) => life.migrate(n)))),
  ...(['cancelled', 'cut'] as const).map((giveUp) =>
    pick.map((n) => command(`${giveUp}-migration(${n})`, (life) => life.migrate(n, giveUp))),
  ),
  pick.map((n) =>
    command(`upgrade(${n})`, async (life, { upgraded }) => {
      if (upgraded) await life.upgrade(upgraded(n));
    }),
  ),
];
