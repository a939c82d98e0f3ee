/** Boots the probe once under a QEMU, takes one record of each vCPU, and ends the QEMU. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { VcpuObservation } from '../../../corpora/observation.js';
import { wholeObservation } from '../../../guest-probes/observation.js';
import { RecordAssembler } from '../../../guest-probes/record-assembler.js';
import { endsWithUs } from '../../ends-with-us.js';
import type { QemuLauncher } from '../../packages/qemu-trees.js';
import { type Complaint, complaintOf, withheldFeatures } from './complaints.js';
import { guestArguments, type QemuGuestSpec } from './guest-arguments.js';

/** What came of one boot. */
export type BootEnd =
  | {
      readonly kind: 'observed';
      readonly vcpus: readonly VcpuObservation[];
      /** Features that the accelerator lacks, in QEMU's words; shown to the guest only where they were forced. */
      readonly withheld: readonly string[];
    }
  | ({ readonly kind: 'refused' | 'crashed' | 'hung' } & Complaint);

/** Milliseconds; a boot takes some 30, many times that on a busy machine, 1-2 s inside a lab host. */
const BOOT_DEADLINE = 60_000;

/** `request` is the path of a probe request for exactly the vCPUs of `spec`. Never throws for what a QEMU does. */
export const bootOnce = (
  launcher: QemuLauncher,
  spec: QemuGuestSpec,
  request: string,
  deadline = BOOT_DEADLINE,
): Promise<BootEnd> =>
  takeRecord(launcher, [...guestArguments(spec, request), '-chardev', 'stdio,id=probe'], spec.smp.cpus, deadline);

/** Starts a QEMU whose probe port is its stdout; `onRecords` is called as soon as all `count` records are decoded. */
export async function takeRecord(
  launcher: QemuLauncher,
  command: readonly string[],
  count: number,
  deadline: number,
  onRecords: () => void = () => {},
): Promise<BootEnd> {
  const [program, ...args] = launcher.argv(command);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...launcher.env } });
  endsWithUs(child);
  // Not its close: a wrapper's child may hold the pipes open.
  const exited = once(child, 'exit').catch(() => undefined);
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr = `${stderr}${text}`.slice(-65536);
  });
  try {
    const ended = await recordsOf(child, count, deadline);
    if (typeof ended !== 'string') onRecords();
    if (typeof ended !== 'string') return { kind: 'observed', vcpus: ended, withheld: withheldFeatures(stderr) };
    if (ended === 'late') return { kind: 'hung', code: 'qemu-hung', message: `no whole dump within ${deadline} ms` };
    // It began to run: what stands on stderr are warnings, and the end was none that QEMU chose.
    const complaint = complaintOf(stderr, ended);
    return { kind: /status [1-9]/.test(ended) ? 'refused' : 'crashed', ...complaint };
  } finally {
    child.kill('SIGKILL');
    await exited;
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

/** The first record of each vCPU, in their order; `late`, or how the process ended. */
function recordsOf(
  child: ReturnType<typeof spawn>,
  count: number,
  deadline: number,
): Promise<readonly VcpuObservation[] | string> {
  const assembler = new RecordAssembler();
  const seen: VcpuObservation[] = [];
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('late'), deadline);
    const end = (result: readonly VcpuObservation[] | string): void => {
      clearTimeout(timer);
      resolve(result);
    };
    child.stdout!.on('data', (chunk: Buffer) => {
      try {
        seen.push(...assembler.push(chunk).map(wholeObservation));
      } catch (error) {
        end((error as Error).message);
      }
      if (seen.length >= count) end(seen);
    });
    child.once('error', (error) => end(error.message));
    child.once('close', (code, signal) => end(code === null ? `ended by ${signal}` : `status ${code}`));
  });
}
