/** Assembles and links a probe with GNU binutils. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The image of the probe whose sources stand in `folder`. Throws where `as` or `ld` are missing or find an error. */
export function buildProbe(folder: string): Uint8Array {
  const scratch = mkdtempSync(join(tmpdir(), 'guest-abi-probe-'));
  const object = join(scratch, 'probe.o');
  const image = join(scratch, 'probe.elf');
  const run = (command: string, args: string[]) => execFileSync(command, args, { stdio: 'pipe' });
  try {
    run('as', ['--32', '-I', join(folder, '..'), '-o', object, join(folder, 'probe.s')]);
    run('ld', [
      ...['-m', 'elf_i386', '-n', '-s', '--build-id=none', '-T', join(folder, 'probe.ld')],
      ...['-o', image, object],
    ]);
    return readFileSync(image);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}
