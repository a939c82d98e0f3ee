/** `import qemu`, its pure part: what one release says, worked into the definitions that are there. */
import { propertyFromFile } from '../../corpora/definition-text.js';
import type { CompatProperty, Definitions, PropertyValue } from '../../corpora/definitions.js';
import { deriveDefinitions } from './derive.js';
import type { Deviation } from './derive-machines.js';
import { definitionFiles } from './files.js';
import { knownRelease, knownReleases } from './known-release.js';
import { compareVersions, type Release } from './release.js';
import { type NotHeld, notHeld } from './said-compat.js';

export interface ImportedRelease {
  /** Path below `corpora/` -> canonical text, for every definition after the import. */
  readonly files: ReadonlyMap<string, string>;
  /** What this or another release says otherwise, and no entry of `machine-types/deviations.json` explains yet. */
  readonly unexplained: readonly Deviation[];
  /** Explanations that nothing needs any more. */
  readonly needless: readonly string[];
  /** Versions that describe caches of their own, which QMP does not tell: `cpu-models/caches.json` lacks them. */
  readonly withoutCaches: readonly string[];
  /** Properties that nothing here knows: whether they change CPUID, and where, is not told over QMP. */
  readonly unknownProperties: readonly string[];
  /** Compat properties that the release says it has and that its pairs do not show by these definitions. */
  readonly notHeld: readonly NotHeld[];
}

/**
 * Works a release into definitions. The other releases' word is what the definitions hold of it, so nothing that was there before is
 * lost; a release that was imported before gives the same definitions back.
 */
export function importRelease(definitions: Definitions, release: Release): ImportedRelease {
  const others = knownReleases(definitions).filter((name) => name !== release.name);
  const all = [...others.map((name) => knownRelease(definitions, name)), release];
  all.sort((a, b) => compareVersions(a.name, b.name));
  const derived = deriveDefinitions(all, definitions);
  const explained = new Set(
    definitions.deviations.flatMap(({ releases, properties = [] }) =>
      properties.flatMap((property) => releases.map((name) => keyOf(name, property))),
    ),
  );
  const found = new Set(
    derived.deviations.flatMap(({ releases, properties }) =>
      properties.flatMap((property) => releases.map((name) => keyOf(name, property))),
    ),
  );
  const files = definitionFiles(derived);
  return {
    files,
    unexplained: derived.deviations.filter(({ releases, properties }) =>
      properties.some((property) => releases.some((name) => !explained.has(keyOf(name, property)))),
    ),
    needless: definitions.deviations
      .filter(({ releases, properties = [] }) =>
        properties.some((property) => releases.some((name) => !found.has(keyOf(name, property)))),
      )
      .map(({ id }) => id),
    withoutCaches: cachesWanted(derived.models, definitions),
    unknownProperties: Object.keys(derived.cpuClass.properties).filter(
      (name) => !(name in definitions.cpuClass.properties),
    ),
    notHeld: notHeld(release, definitions.changed([...files].map(([path, text]) => [path, parsedFile(text)]))),
  };
}

const parsedFile = (text: string): unknown => JSON.parse(text, (_key, value: PropertyValue) => propertyFromFile(value));

const keyOf = (release: string, property: CompatProperty): string => `${release} ${JSON.stringify(property)}`;

function cachesWanted(models: ReturnType<typeof deriveDefinitions>['models'], { caches }: Definitions): string[] {
  return models.flatMap(({ name, properties, versions }) => {
    let own = properties['legacy-cache'] === false;
    return versions.flatMap((version) => {
      own = version.properties['legacy-cache'] === undefined ? own : version.properties['legacy-cache'] === false;
      const versioned = `${name}-v${version.version}`;
      return own && !caches.models[versioned] ? [versioned] : [];
    });
  });
}
