import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { Definitions } from './definitions.js';
import { packageFile } from './package-root.js';
import { checkCorporaFile } from './schema/corpora-files.js';

/** JSON files of a corpora folder, by path below it. */
const filesIn = (folder: string): string[] =>
  ['cpu-models', 'machine-types', 'contracts'].flatMap((part) =>
    readdirSync(join(folder, part), { recursive: true })
      .map((name) => `${part}/${String(name)}`)
      .filter((name) => name.endsWith('.json')),
  );

void t.test('our own files are what a user is told to write', async (t) => {
  const folder = packageFile('corpora');
  const files = filesIn(folder);
  t.ok(files.length > 170, `${files.length} files`);
  for (const path of files) checkCorporaFile(path, JSON.parse(readFileSync(join(folder, path), 'utf8')), path);
});

const INDEX = { schema: 'guest-abi/machine-type-index/1', machines: ['pc-own'], aliases: {}, newest: {} };
const OWN = {
  schema: 'guest-abi/machine-type/1',
  name: 'pc-own',
  newer: 'pc-i440fx-11.1',
  releases: ['11.1'],
  defaultVersion: 1,
  kvmDefaults: {},
  compat: [],
};

/** Each: what is wrong in `pc-own.json`, and what the message says. */
const WRONG: readonly (readonly [what: string, text: string, says: RegExp])[] = [
  ['no JSON', '{', /pc-own\.json: .*JSON/],
  ['another schema', JSON.stringify({ ...OWN, schema: 'guest-abi/machine-type/2' }), /pc-own\.json: schema/],
  ['a key that is none', JSON.stringify({ ...OWN, compatt: [] }), /pc-own\.json: .*compatt/],
  ['a value of a wrong kind', JSON.stringify({ ...OWN, releases: '11.1' }), /pc-own\.json: releases/],
  [
    'a compat property without its type',
    JSON.stringify({ ...OWN, compat: [{ property: 'aes', value: false }] }),
    /pc-own\.json: compat\.0\.type/,
  ],
  [
    'a compat property that is none',
    JSON.stringify({ ...OWN, compat: [{ type: 'x86_64-cpu', property: 'aess', value: false }] }),
    /pc-own\.json: .*'aess'/,
  ],
];

function folderWith(folder: string, files: Readonly<Record<string, string>>): Definitions {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return new Definitions([folder]);
}

for (const [what, text, says] of WRONG) {
  void t.test(`a user's file with ${what} is refused with its place`, async (t) => {
    const files = { 'machine-types/index.json': JSON.stringify(INDEX), 'machine-types/pc-own.json': text };
    const definitions = folderWith(t.testdir(), files);
    t.throws(() => definitions.machine('pc-own'), { code: 'bad-corpora-file', message: says });
  });
}

void t.test("a user's file stands beside the built-in ones; one that an index names must be there", async (t) => {
  const index = { 'machine-types/index.json': JSON.stringify(INDEX) };
  const good = folderWith(t.testdir(), { ...index, 'machine-types/pc-own.json': JSON.stringify(OWN) });
  t.equal(good.machine('pc-own').newer, 'pc-i440fx-11.1');
  t.equal(good.machine('pc-i440fx-2.3').name, 'pc-i440fx-2.3');
  const missing = folderWith(t.testdir(), index);
  t.throws(() => missing.machine('pc-own'), { code: 'bad-corpora-file', message: /pc-own\.json: an index names it/ });
});
