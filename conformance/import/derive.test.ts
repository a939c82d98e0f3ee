import { readFileSync } from 'node:fs';
import t from 'tap';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { packageFile } from '../../corpora/package-root.js';
import { deriveDefinitions } from './derive.js';
import { definitionFiles } from './files.js';
import { PROPERTY_RELEASES, releaseOf, withoutGroundTruth } from './ground-truth.js';

void t.test(
  'importing all four releases gives the committed definitions back',
  { skip: withoutGroundTruth },
  async (t) => {
    const definitions = builtInDefinitions();
    const derived = deriveDefinitions(PROPERTY_RELEASES.map(releaseOf), definitions);
    for (const [path, text] of definitionFiles(derived)) {
      t.equal(text, readFileSync(packageFile(`corpora/${path}`), 'utf8'), path);
    }
    const committed = definitions.deviations.flatMap(({ releases, properties = [] }) =>
      properties.map((property) => JSON.stringify({ releases, properties: [property] })),
    );
    t.same(derived.deviations.map((one) => JSON.stringify(one)).sort(), committed.sort(), 'deviations');
  },
);
