/** The order of machine types on the page: family by family, each from its oldest release on. */

/** `pc-i440fx-2.3` is family `pc-i440fx`, release 2.3; `pc-next` and the like come last in theirs. */
export function inOrderOfRelease(a: string, b: string): number {
  const [one, other] = [a, b].map(partsOf) as [Parts, Parts];
  return (
    compare(familyPlace(one.family), familyPlace(other.family)) ||
    compare(one.family, other.family) ||
    compare(one.major, other.major) ||
    compare(one.minor, other.minor) ||
    compare(a, b)
  );
}

interface Parts {
  readonly family: string;
  readonly major: number;
  readonly minor: number;
}

function partsOf(name: string): Parts {
  const [, family, major, minor] = /^(.*)-(\d+)\.(\d+)/.exec(name) ?? [];
  if (family === undefined) return { family: name.replace(/-[^-]*$/, ''), major: Number.POSITIVE_INFINITY, minor: 0 };
  return { family, major: Number(major), minor: Number(minor) };
}

/** pc-1.x became pc-i440fx-1.4. */
const FAMILIES = ['pc', 'pc-i440fx', 'pc-q35'];
const familyPlace = (family: string): number =>
  FAMILIES.includes(family) ? FAMILIES.indexOf(family) : FAMILIES.length;

const compare = <T extends string | number>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0);
