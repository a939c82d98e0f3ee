/** The house's own rules that no compiler enforces. */
import { readdirSync, readFileSync } from 'node:fs';
import { packageFile } from '../../corpora/package-root.js';
import type { Check } from './check.js';

const ROOMS = ['corpora', 'guest-probes', 'reference-vmm', 'reports', 'conformance'] as const;

export const sources = (): { readonly file: string; readonly text: string }[] =>
  ROOMS.flatMap((room) =>
    readdirSync(packageFile(room), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => ({ file: `${room}/${file}`, text: readFileSync(packageFile(`${room}/${file}`), 'utf8') })),
  );

export const koffiIsWalledIn: Check = {
  name: 'only *.ffi.ts import koffi',
  run: () =>
    sources()
      .filter(({ file, text }) => /^import .*'koffi'/m.test(text) && !file.endsWith('.ffi.ts'))
      .map(({ file }) => `${file} imports koffi`),
};

export const filesIntroduceThemselves: Check = {
  name: 'every source file opens with a sentence that says what it is',
  run: () =>
    sources()
      .filter(({ file, text }) => !file.endsWith('.test.ts') && !/^(#!.*\n)?\/\*\*/.test(text))
      .map(({ file }) => `${file} does not`),
};

const DECISIONS = 'docs/decisions';

export const decisionsAreNumbered: Check = {
  name: 'every decision has a number of its own',
  run: () => {
    const files = readdirSync(packageFile(DECISIONS)).sort();
    const numbers = files.map((file) => /^(\d{4})-[a-z0-9-]+\.md$/.exec(file)?.[1]);
    return files
      .filter((_, i) => numbers[i] === undefined || numbers.indexOf(numbers[i]) !== i)
      .map((file) => `${DECISIONS}/${file} has none, or another's`);
  },
};
