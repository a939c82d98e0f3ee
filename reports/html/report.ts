/** The HTML report: one file that needs no network, its first part readable without a script, its data packed behind it. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { packageFile } from '../../corpora/package-root.js';
import type { ResultLog } from '../result-log.js';
import { pack } from './pack.js';
import { clientScript } from './script.js';
import { headlineOf, summary } from './summary.js';

export function htmlReport(log: ResultLog, { minIdentical }: { readonly minIdentical?: number }): string {
  const style = readFileSync(packageFile('reports/html/style.css'), 'utf8');
  const script = clientScript();
  const data = gzipSync(JSON.stringify(pack(log)), { level: 9 }).toString('base64');
  // Nothing is fetched, and nothing but this script runs, whatever a log holds.
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${digest(script)}'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${headlineOf(log)} · guest-abi</title>
<style>
${style}</style>
</head>
<body data-page="overview">
<a class="skip" href="#map">Skip to the map of pairs</a>
<main>
<div id="overview">
${summary(log, minIdentical)}
<section id="map" aria-labelledby="map-title" tabindex="-1">
<h2 id="map-title">Pairs</h2>
<noscript><p>The map, the dumps and the history of models need a script that is part of this file.</p></noscript>
</section>
</div>
<div id="detail"></div>
</main>
<script type="application/octet-stream" id="data">${data}</script>
<script>${script}</script>
</body>
</html>
`;
}

const digest = (text: string): string => createHash('sha256').update(text).digest('base64');
