/** Where this package's data files stand, whether it runs from a checkout or installed. */
import { fileURLToPath } from 'node:url';

/** Absolute path of a file of the package, e.g. `packageFile('corpora/machine-types')`. */
export const packageFile = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
