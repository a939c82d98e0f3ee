/** Programs in a QEMU's place, for tests: shell scripts that end, hang, or change what a real one is told. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { QemuLauncher } from '../../packages/qemu-trees.js';

/** A script at `folder`/qemu. */
export function standIn(folder: string, script: string): QemuLauncher {
  const file = join(folder, 'qemu');
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return { name: file, version: '11.1.0', env: {}, argv: (args) => [file, ...args] };
}

/** The line of a script that becomes this QEMU, with the script's arguments. */
export function execLine(qemu: QemuLauncher): string {
  const exports = Object.entries(qemu.env).map(([name, value]) => `export ${name}='${value}'; `);
  return `${exports.join('')}exec ${qemu.argv([]).join(' ')} "$@"`;
}
