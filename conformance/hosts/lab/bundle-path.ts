/** The programs of a lab host, and where their bundles stand. */

/** Where bundles stand in the package; as deep as a module's own folder, so that `packageFile` finds the package's files from there too. */
export const bundlePath = (program: LabProgram): string => `dist/conformance/${program}.bundle.js`;

/** What runs on a lab host, by the module that it starts with. */
export const LAB_PROGRAMS = {
  agent: 'dist/conformance/hosts/agent/main.js',
  switchboard: 'dist/conformance/hosts/lab/switchboard-main.js',
} as const;

export type LabProgram = keyof typeof LAB_PROGRAMS;
