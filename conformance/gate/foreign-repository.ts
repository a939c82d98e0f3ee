/** A git repository of somebody else with definitions and contracts of their own, for tests. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type ContractFile, contractText, freeze } from '../../corpora/contracts.js';
import { Definitions } from '../../corpora/definitions.js';
import { packageFile } from '../../corpora/package-root.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { eachShape } from './resolved.js';

/** The machine type that they released. */
export const ACME = 'pc-acme-1.0';

/** Files of the package that they took over. */
const TAKEN = [
  'cpu-models/caches.json',
  'cpu-models/intel/Nehalem.json',
  'cpu-models/intel/Penryn.json',
  'machine-types/deviations.json',
  'machine-types/pc-i440fx-2.3.json',
  'machine-types/pc-i440fx-3.1.json',
];

export class ForeignRepository {
  readonly root: string;
  /** Its corpora folder. */
  readonly corpora: string;

  /** Everything stands in one commit, on branch `main`. */
  constructor(folder: string) {
    this.root = folder;
    this.corpora = join(folder, 'abi');
    for (const path of TAKEN) cpSync(packageFile(`corpora/${path}`), this.#made(path));
    this.putMachine(ACME, 'pc-next', [{ type: 'Nehalem-x86_64-cpu', property: 'ssse3', value: false }]);
    this.put('contracts/Nehalem.json', this.#frozen());
    this.git('init', '-q', '-b', 'main');
    this.commit('base');
  }

  read(path: string): string {
    return readFileSync(join(this.corpora, path), 'utf8');
  }

  put(path: string, text: string): void {
    writeFileSync(this.#made(path), text);
  }

  /** Replaces text in a file; throws where it is not there. */
  edit(path: string, from: string | RegExp, to: string): void {
    const before = this.read(path);
    const after = before.replace(from, to);
    if (after === before) throw new Error(`${path} has no ${from}`);
    this.put(path, after);
  }

  /** A machine type and its place in the index. */
  putMachine(name: string, newer: string, compat: readonly object[]): void {
    const index = 'machine-types/index.json';
    const known = existsSync(join(this.corpora, index)) ? (JSON.parse(this.read(index)).machines as string[]) : [];
    const schema = 'guest-abi/machine-type-index/1';
    this.put(index, JSON.stringify({ schema, machines: [...known, name], aliases: {}, newest: {} }));
    const facts = { name, newer, releases: ['11.1'], defaultVersion: 1, kvmDefaults: {}, compat };
    this.put(`machine-types/${name}.json`, JSON.stringify({ schema: 'guest-abi/machine-type/1', ...facts }));
  }

  git(...args: string[]): string {
    const identity = ['-c', 'user.name=test', '-c', 'user.email=test@example.org', '-c', 'commit.gpgsign=false'];
    return execFileSync('git', [...identity, ...args], { cwd: this.root, encoding: 'utf8' });
  }

  commit(message: string): void {
    this.git('add', '-A');
    this.git('commit', '-q', '-m', message);
  }

  /** As `git apply` takes it from a pipe. */
  apply(patch: string): void {
    execFileSync('git', ['apply', '-'], { cwd: this.root, input: patch });
  }

  /** Throws away what was edited. */
  reset(): void {
    this.git('reset', '-q', '--hard');
    this.git('clean', '-qfd');
  }

  /** The package's contracts of Nehalem with that of their machine type. */
  #frozen(): string {
    const definitions = new Definitions([this.corpora]);
    const shapes = eachShape((smp) => resolve({ machine: ACME, cpu: 'Nehalem', smp, definitions }).vcpus);
    const evidence = eachShape(() => []);
    const file = definitions.contracts('Nehalem') as ContractFile;
    return contractText(freeze(file, [{ model: 'Nehalem', machine: ACME, shapes, evidence }]));
  }

  #made(path: string): string {
    const file = join(this.corpora, path);
    mkdirSync(dirname(file), { recursive: true });
    return file;
  }
}
