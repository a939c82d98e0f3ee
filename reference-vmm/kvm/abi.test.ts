import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CAPABILITIES } from './capability.js';
import { EXIT_REASON, IOCTL, KVM } from './ioctl.js';
import { LAYOUT } from './layout.js';
import { UFFDIO } from './userfaultfd.ffi.js';

const compiler = spawnSync('cc', ['--version']).status === 0;

/** What the C headers say, as `name value` lines of a compiled program; a name that these headers do not have is left out. */
function askHeaders(): ReadonlyMap<string, number> {
  const folder = mkdtempSync(join(tmpdir(), 'guest-abi-abi-'));
  const number = (name: string) => `#ifdef ${name}\nprintf("${name} %llu\\n", (unsigned long long)(${name}));\n#endif`;
  const structs = Object.entries(LAYOUT).flatMap(([name, { offsets }]) => [
    `printf("${name} %zu\\n", sizeof(struct ${name}));`,
    ...Object.keys(offsets).map((field) => `printf("${name}.${field} %zu\\n", offsetof(struct ${name}, ${field}));`),
  ]);
  const names = [IOCTL, EXIT_REASON, CAPABILITIES, KVM, UFFDIO].flatMap((table) => Object.keys(table));
  const lines = [...names.map(number), ...structs];
  const source = `#include <stdio.h>\n#include <stddef.h>\n#include <sys/ioctl.h>\n#include <linux/kvm.h>\n#include <linux/userfaultfd.h>\nint main(void) {\n${lines.join('\n')}\nreturn 0; }\n`;
  try {
    writeFileSync(join(folder, 'abi.c'), source);
    execFileSync('cc', ['-w', '-o', join(folder, 'abi'), join(folder, 'abi.c')], { stdio: 'pipe' });
    const output = execFileSync(join(folder, 'abi'), { encoding: 'utf8' });
    return new Map(
      output
        .trim()
        .split('\n')
        .map((line): [string, number] => {
          const [name, value] = line.split(' ');
          return [name!, Number(value)];
        }),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

void t.test('our tables say what the kernel headers say', { skip: !compiler && 'no C compiler (cc)' }, async (t) => {
  const headers = askHeaders();
  // Debian 11's headers do not have the one of /dev/userfaultfd.
  const lacking = ['KVM_MAX_CPUID_ENTRIES', 'USERFAULTFD_IOC_NEW'];
  for (const table of [IOCTL, EXIT_REASON, KVM, UFFDIO])
    for (const [name, value] of Object.entries(table))
      if (headers.has(name)) t.equal(value, headers.get(name), name);
      else t.ok(lacking.includes(name), `${name} is in the headers`);
  for (const [name, value] of Object.entries(CAPABILITIES))
    if (headers.has(name)) t.equal(value, headers.get(name), name);
  for (const [name, { size, offsets }] of Object.entries(LAYOUT)) {
    // The headers of a newer kernel may end kvm_run with more.
    if (name === 'kvm_run') t.ok(headers.get(name)! >= size, name);
    else t.equal(size, headers.get(name), name);
    for (const [field, offset] of Object.entries(offsets))
      t.equal(offset, headers.get(`${name}.${field}`), `${name}.${field}`);
  }
});
