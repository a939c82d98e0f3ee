/** The C floor (`floor.c`): compiled on the spot, asked round by round, so that its rounds can take turns with ours. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { MachineError } from '../../corpora/errors.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import { packageFile } from '../../corpora/package-root.js';
import { encodeProbeRequest } from '../../corpora/probe-abi.js';
import { probeImagePath } from '../../guest-probes/images.js';
import { decodeRecord } from '../../guest-probes/observation.js';
import { encodeCpuid2 } from '../../reference-vmm/kvm/codec.js';
import { DEFAULT_MEMORY_BYTES } from '../../reference-vmm/monitor.js';
import { runCommand } from '../packages/command.js';
import type { Round } from './boot.js';

const SOURCE = packageFile('conformance/bench/floor.c');
const COMPILE_DEADLINE_MS = 60_000;
/** The count that `struct kvm_cpuid2` begins with: the floor makes its own. */
const CPUID2_HEADER_BYTES = 8;

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
      const [program, table, request] = ['floor', 'table', 'request'].map((name) => join(folder, name));
      const compiled = await runCommand('cc', ['-O2', '-o', program!, SOURCE], { deadline: COMPILE_DEADLINE_MS });
      if (compiled.status !== 0) throw new MachineError('floor-not-compiled', `cc ${SOURCE}: ${compiled.stderr}`);
      writeFileSync(table!, encodeCpuid2(identity.vcpus[0]!.cpuid).subarray(CPUID2_HEADER_BYTES));
      writeFileSync(request!, encodeProbeRequest({ msrs }));
      const files = [probeImagePath('cpu-state'), table!, request!, `${DEFAULT_MEMORY_BYTES}`, recordIn(folder)];
      return new Floor(folder, spawn(program!, files));
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
