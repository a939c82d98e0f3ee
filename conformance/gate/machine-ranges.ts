/** Machine types in few words: those that follow each other become a range. */

/** `pc-1.0 to pc-i440fx-2.3, pc-q35-2.4`. `order`: all machine types, oldest first. */
export function machineRanges(machines: readonly string[], order: readonly string[]): string {
  const wanted = new Set(machines);
  const runs: string[][] = [];
  let last = -2;
  for (const [at, name] of order.entries()) {
    if (!wanted.delete(name)) continue;
    if (at === last + 1 && boardOf(name) === boardOf(order[last]!)) runs.at(-1)!.push(name);
    else runs.push([name]);
    last = at;
  }
  const known = runs.map((run) => (run.length < 3 ? run.join(', ') : `${run[0]} to ${run.at(-1)}`));
  return [...known, ...wanted].join(', ');
}

/** `pc-q35`; the first four `pc` types have no board in their names and are older i440fx. */
export const boardOf = (name: string): string => name.replace(/-?\d[\d.]*$/, '').replace(/^pc$/, 'pc-i440fx');
