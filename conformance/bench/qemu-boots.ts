/** The same probe under QEMU, from starting the process to its decoded record: QEMU's fastest way and its ordinary one. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MachineError } from '../../corpora/errors.js';
import { encodeProbeRequest, PORT } from '../../corpora/probe-abi.js';
import { probeImagePath } from '../../guest-probes/images.js';
import { cachedQemu, QEMU_RELEASES, type QemuLauncher } from '../packages/qemu-trees.js';
import { takeRecord } from '../subjects/qemu/one-boot.js';
import { quartiles, type Spread } from './spread.js';

/** One way, in milliseconds, beside ours in the same run. */
export interface Boots {
  readonly what: string;
  readonly ms: Spread;
  readonly ours: Spread;
}
export interface QemuBoots {
  readonly fastest: Boots;
  readonly ordinary: Boots;
}

interface Way {
  readonly what: string;
  readonly launcher: QemuLauncher;
  readonly args: readonly string[];
}

/** Milliseconds: a way that takes longer is none of the fastest. */
const DEADLINE = 4000;
const ROUNDS = 15;
/** Of ours for each of QEMU's. */
const OWN_ROUNDS = 10;

/** Without devices and firmware tables that the probe does not use. */
const BARE = 'microvm,pit=off,pic=off,rtc=off,isa-serial=off,auto-kernel-cmdline=off';

function waysOf(launcher: QemuLauncher, cpu: string): Record<'bare' | 'ordinary', Way[]> {
  const name = `QEMU ${launcher.version}`;
  const bare = ['-nodefaults', '-no-user-config', '-m', '16'];
  return {
    bare: (['kvm', 'tcg'] as const).flatMap((accel) => [
      { what: `${name}, microvm, ${accel}`, launcher, args: ['-accel', accel, '-machine', BARE, '-cpu', cpu, ...bare] },
      {
        what: `${name}, pc without devices, ${accel}`,
        launcher,
        args: ['-accel', accel, '-machine', 'pc', '-cpu', cpu, ...bare],
      },
    ]),
    // As `qemu-system-x86_64` does it by itself: SeaBIOS, its default devices and their ROMs.
    ordinary: (['kvm', 'tcg'] as const).map((accel) => ({
      what: `${name}, pc as it comes, ${accel}`,
      launcher,
      args: ['-accel', accel, '-cpu', cpu, '-m', '128', '-monitor', 'none', '-serial', 'none', '-parallel', 'none'],
    })),
  };
}

/**
 * Tries every way once, and measures the fastest of each kind; the probe reads `msrs`. `own`: a boot of ours, in milliseconds; some of them take
 * turns with each of QEMU's, so that noise falls on both. Throws `MachineError` `no-qemu` where no release is in the cache.
 */
export async function qemuBoots(
  cpu: string,
  msrs: readonly number[],
  own: () => number,
  rounds = ROUNDS,
): Promise<QemuBoots> {
  const launchers = (await Promise.all(QEMU_RELEASES.map((release) => cachedQemu(release)))).filter(
    (one) => one !== null,
  );
  if (launchers.length === 0) throw new MachineError('no-qemu', 'no QEMU release is in the cache: guest-abi lab setup');
  const folder = mkdtempSync(join(tmpdir(), 'guest-abi-bench-'));
  try {
    const request = join(folder, 'request');
    writeFileSync(request, encodeProbeRequest({ msrs }));
    const ways = launchers.map((launcher) => waysOf(launcher, cpu));
    const measure = async (some: readonly Way[]): Promise<Boots> => {
      const way = await fastest(some, request);
      const [times, ours]: [number[], number[]] = [[], []];
      for (let i = 0; i < rounds; i++) {
        times.push(await bootTime(way, request));
        for (let j = 0; j < OWN_ROUNDS; j++) ours.push(own());
      }
      return { what: way.what, ms: quartiles(times), ours: quartiles(ours) };
    };
    return {
      fastest: await measure(ways.flatMap(({ bare }) => bare)),
      ordinary: await measure(ways.flatMap(({ ordinary }) => ordinary)),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function fastest(ways: readonly Way[], request: string): Promise<Way> {
  let best: { readonly way: Way; readonly ms: number } | null = null;
  for (const way of ways) {
    const ms = await bootTime(way, request).catch(() => Number.POSITIVE_INFINITY);
    if (ms < (best?.ms ?? Number.POSITIVE_INFINITY)) best = { way, ms };
  }
  if (!best) throw new MachineError('no-qemu', `no QEMU boots the probe within ${DEADLINE} ms`);
  return best.way;
}

async function bootTime({ launcher, args }: Way, request: string): Promise<number> {
  const probe = ['-device', `isa-debugcon,iobase=${PORT.probe},chardev=probe`, '-chardev', 'stdio,id=probe'];
  const whole = [...args, '-display', 'none', '-kernel', probeImagePath('cpu-state'), '-initrd', request, ...probe];
  const start = performance.now();
  let done = Number.NaN;
  const end = await takeRecord(launcher, whole, 1, DEADLINE, () => {
    done = performance.now();
  });
  if (end.kind !== 'observed') throw new MachineError('no-qemu', end.message);
  return done - start;
}
