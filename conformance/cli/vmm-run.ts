/** `vmm run`: boots the user's own image on the reference monitor, with its serial port on stdin and stdout. */
import { readFileSync } from 'node:fs';
import { EXIT, type ExitCode, InputError } from '../../corpora/errors.js';
import { featureName } from '../../corpora/features.js';
import { splitModuleList } from '../../reference-vmm/boot/boot.js';
import { hostCapabilities } from '../../reference-vmm/kvm/capabilities.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { Machine, runAsync } from '../../reference-vmm/monitor.js';
import { findingLines } from '../../reports/reasons.js';
import { type CommonOptions, printJson, warn } from './output.js';
import { definitionsOf, followsHost, onePair, resolvePair } from './pairs.js';

export interface VmmRunOptions extends CommonOptions {
  readonly machine: string;
  readonly cpu: string;
  readonly kernel: string;
  readonly initrd?: string;
  readonly append?: string;
  /** MiB. */
  readonly memory: number;
  /** Seconds. */
  readonly timeout: number;
  readonly allowAltered?: boolean;
  readonly forceFeatures?: boolean;
}

interface End {
  readonly event: string;
  readonly code: number | null;
  readonly message: string | null;
}

const SHUTDOWN = 0;

/** Runs the guest to its end. Exit code: the guest's debug-exit code 0 gives 0, anything else 1. */
export async function vmmRun(options: VmmRunOptions): Promise<ExitCode> {
  const definitions = definitionsOf(options.corpora);
  const request = onePair({ machine: [options.machine], cpu: [options.cpu] }, definitions);
  const fixed = followsHost(request) ? null : resolvePair(request, definitions);
  const boot = {
    image: { name: options.kernel, bytes: readInput(options.kernel) },
    modules: splitModuleList(options.initrd ?? '').map(({ file, text }) => ({ text, bytes: readInput(file) })),
    append: options.append ?? '',
  };
  const serial: number[] = [];
  using kvm = openKvm();
  const identity = fixed ?? resolvePair(request, definitions, hostCapabilities(kvm));
  const created = Machine.create(kvm, identity, {
    nameOf: featureName,
    memoryBytes: options.memory * 1024 * 1024,
    boot,
    allowAltered: options.allowAltered ?? false,
    forceFeatures: options.forceFeatures ?? false,
    onSerial: (byte) => {
      if (options.json) serial.push(byte);
      else process.stdout.write(Uint8Array.of(byte));
    },
  });
  if (created.kind === 'refused') {
    if (options.json) printJson('vmm-run', { pair: identity.pair, refused: created.reasons });
    else
      warn(
        `refused to run ${identity.pair}:\n${findingLines(created.reasons)
          .map((line) => `    ${line}`)
          .join('\n')}`,
      );
    return EXIT.broken;
  }
  using machine = created.machine;
  machine.start();
  const end = await runToEnd(machine, options.timeout * 1000);
  if (options.json) {
    printJson('vmm-run', { pair: identity.pair, ...end, serial: Buffer.from(serial).toString('latin1') });
  } else if (end.message) warn(end.message);
  return end.event === 'exit' && end.code === SHUTDOWN ? EXIT.holds : EXIT.broken;
}

/** Follows resets; what stdin brings goes to the serial port. */
async function runToEnd(machine: Machine, timeoutMs: number): Promise<End> {
  const until = performance.now() + timeoutMs;
  let interrupted = false;
  const interrupt = (): void => {
    interrupted = true;
  };
  process.once('SIGINT', interrupt);
  const type = (bytes: Buffer): void => machine.sendSerial(bytes);
  process.stdin.on('data', type);
  try {
    for (;;) {
      const event = await runAsync(machine, { timeoutMs: Math.min(SLICE_MS, until - performance.now()) });
      if (interrupted) return { event: 'interrupted', code: null, message: 'interrupted' };
      if (event.kind === 'reset') machine.reset();
      else if (event.kind === 'exit') return { event: 'exit', code: event.code, message: null };
      else if (event.kind === 'crashed') return { event: 'crashed', code: null, message: event.crash.message };
      else if (event.kind === 'halted')
        return { event: 'halted', code: null, message: 'the guest halted with nothing to wake it' };
      else if (event.kind === 'timed-out' && performance.now() >= until)
        return {
          event: 'timed-out',
          code: null,
          message: `the guest ran for ${timeoutMs / 1000} s: ${event.crash.message}`,
        };
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.stdin.off('data', type).pause();
  }
}

/** How long the guest runs before the event loop turns. */
const SLICE_MS = 100;

/** Throws `InputError` `unreadable-file`. */
function readInput(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new InputError('unreadable-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      given: file,
    });
  }
}
