/** On which host of its path a step of a life is, by its name. */

/**
 * The number of the host, from 0, among `hosts`. `hop-<i>` is on the i-th; what the source says of it (`hop-<i>-source`) is of a refusal
 * there; after an attempt that is given up (`hop-<i>-cancelled`, `-cut`) the guest is still on the one before. Restores are on the last, as are the ends of
 * a move that is made once (`source`, `destination`); all else is on the first.
 */
export function hostOfStep(step: string, hosts: number): number {
  const [, hop, attempt] = /^hop-(\d+)(-cancelled|-cut)?(?:-source)?$/.exec(step) ?? [];
  if (hop) return Number(hop) - (attempt ? 1 : 0);
  return /restore(-again)?$|^source$|^destination$/.test(step) ? hosts - 1 : 0;
}
