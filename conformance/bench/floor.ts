/** The C floor (`floor.c`): compiled on the spot, asked round by round, so that its rounds can take turns with ours. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { MachineError } from '../../corpora/errors.js';
import type { CpuIdentity, MsrValue } from '../../corpora/identity.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import { packageFile } from '../../corpora/package-root.js';
import { encodeProbeRequest } from '../../corpora/probe-abi.js';
import { probeImagePath } from '../../guest-probes/images.js';
import { decodeRecord } from '../../guest-probes/observation.js';
import { encodeCpuid2, encodeMsrs } from '../../reference-vmm/kvm/codec.js';
import { KVM } from '../../reference-vmm/kvm/ioctl.js';
import type { MsrFilterRange } from '../../reference-vmm/kvm/kvm.js';
import { DEFAULT_MEMORY_BYTES } from '../../reference-vmm/monitor.js';
import { type KernelMsrs, MsrPolicy } from '../../reference-vmm/msr-policy.js';
import { runCommand } from '../packages/command.js';
import type { Round } from './boot.js';

const SOURCE = packageFile('conformance/bench/floor.c');
const COMPILE_DEADLINE_MS = 60_000;
/** The count that `struct kvm_cpuid2` and `struct kvm_msrs` begin with: the floor makes its own. */
const HEADER_BYTES = 8;

/** The running floor. */
export class Floor implements Disposable {
  readonly #folder: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  private constructor(folder: string, child: ChildProcessWithoutNullStreams) {
    this.#folder = folder;
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Compiles and starts it. Throws `MachineError` `program-missing` without a C compiler, `floor-not-compiled` with its words. */
  static async start(identity: CpuIdentity, msrs: readonly number[]): Promise<Floor> {
    const folder = mkdtempSync(join(tmpdir(), 'guest-abi-bench-'));
    try {
      const program = join(folder, 'floor');
      const compiled = await runCommand('cc', ['-O2', '-o', program, SOURCE], { deadline: COMPILE_DEADLINE_MS });
      if (compiled.status !== 0) throw new MachineError('floor-not-compiled', `cc ${SOURCE}: ${compiled.stderr}`);
      for (const [name, bytes] of Object.entries(inputs(identity, msrs))) writeFileSync(join(folder, name), bytes);
      return new Floor(folder, spawn(program, [probeImagePath('cpu-state'), folder, `${DEFAULT_MEMORY_BYTES}`]));
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  /** One boot. Throws `MachineError` `floor-failed` where it ended. */
  async round(): Promise<Round> {
    this.#child.stdin.write('.');
    const line = await this.#lines.next();
    if (line.done) throw new MachineError('floor-failed', `floor: ${String(this.#child.stderr.read() ?? 'ended')}`);
    const [observed, closed] = line.value.split(' ').map(Number);
    return { observed: observed!, closed: closed! };
  }

  /** Ends it, and gives what its last guest saw. */
  async finish(): Promise<VcpuObservation> {
    const ended = once(this.#child, 'close');
    this.#child.stdin.end();
    await ended;
    return decodeRecord(readFileSync(recordIn(this.#folder))).observation;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const recordIn = (folder: string): string => join(folder, 'record');

/** The files that `floor.c` reads: what the monitor gives to KVM for this identity. */
function inputs(identity: CpuIdentity, msrs: readonly number[]): Readonly<Record<string, Uint8Array>> {
  const policy = new MsrPolicy(identity);
  const answers = msrs.flatMap((index): MsrValue[] => {
    const value = policy.answer({ reason: 'rdmsr', index, value: 0n }, NO_KERNEL);
    return value === '#GP' ? [] : [{ index, value }];
  });
  return {
    table: encodeCpuid2(identity.vcpus[0]!.cpuid).subarray(HEADER_BYTES),
    request: encodeProbeRequest({ msrs }),
    resets: encodeMsrs(policy.kernelResets).subarray(HEADER_BYTES),
    answers: encodeMsrs(answers).subarray(HEADER_BYTES),
    filter: Buffer.concat(policy.filter().ranges.map(encodeRange)),
  };
}

/** Reads never ask it. */
const NO_KERNEL: KernelMsrs = { get: () => 0n, set: () => false, paging: () => false };

const ACCESS = { read: KVM.KVM_MSR_FILTER_READ, write: KVM.KVM_MSR_FILTER_WRITE, 'read-write': 3 } as const;

function encodeRange({ base, allowed, access }: MsrFilterRange): Uint8Array {
  const words = Uint32Array.of(ACCESS[access], allowed.length, base, 0);
  const bitmap = new Uint8Array(Math.ceil(allowed.length / 64) * 8);
  for (const [i, allows] of allowed.entries()) if (allows) bitmap[i >> 3]! |= 1 << (i & 7);
  return Buffer.concat([new Uint8Array(words.buffer), bitmap]);
}
