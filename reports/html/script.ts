/** The page's script: the client's modules joined to one, since a single file has nothing to import from. */
import { readFileSync } from 'node:fs';

/** Each after those that it imports. Their names are distinct, so that joined they need no imports. */
const MODULES = [
  'dom',
  'escape',
  'status',
  'model',
  'matrix',
  'slices',
  'cell-list',
  'differences',
  'cell-page',
  'history',
  'main',
];

/** Throws `Error` where a module imports in a way that joining does not know: a fault of the build. */
export function clientScript(): string {
  const joined = MODULES.map((name) => {
    const code = readFileSync(new URL(`client/${name}.js`, import.meta.url), 'utf8');
    return code
      .replace(/^import \{[^}]*\} from '\.\/[^']*';$/gm, '')
      .replace(/^export (?=const|function|class|async)/gm, '')
      .replace(/^export \{\};$/gm, '')
      .replace(/^\/\/# sourceMappingURL.*$/gm, '');
  }).join('');
  if (/^(import|export) /m.test(joined)) throw new Error('the client has an import or export that cannot be joined');
  return `(() => {\n'use strict';\n${joined}})();`;
}
