/**
 * A program of this package as one file, for lab hosts: on an emulated CPU, finding and loading a hundred modules takes longer than all else
 * that an agent does before it says hello.
 */
import { buildSync } from 'esbuild';
import { MachineError } from '../../../corpora/errors.js';
import { packageFile } from '../../../corpora/package-root.js';
import { LAB_PROGRAMS, type LabProgram } from './bundle-path.js';

/** Packages with native code, which stay packages. */
export const UNBUNDLED = ['koffi'];

/** The text of a program's bundle. Throws `MachineError` `image-not-made` where the package is not whole. */
export function bundle(program: LabProgram): Uint8Array {
  const options = { bundle: true, platform: 'node', format: 'esm', target: 'node20' } as const;
  try {
    const { outputFiles } = buildSync({
      ...options,
      ...{ entryPoints: [packageFile(LAB_PROGRAMS[program])], external: UNBUNDLED, write: false, logLevel: 'silent' },
    });
    return outputFiles[0]!.contents;
  } catch (error) {
    throw new MachineError('image-not-made', `${program}: ${(error as Error).message}`, { cause: error });
  }
}
