/** The version of this package, read from its package.json. */
import { readFileSync } from 'node:fs';
import { packageFile } from '../corpora/package-root.js';

export const PACKAGE_VERSION: string = (
  JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string }
).version;
