/** The scripts of the ready-made CI files, run as CI runs them on somebody else's repository. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { packageFile } from '../../corpora/package-root.js';
import { ForeignRepository } from './foreign-repository.js';

t.setTimeout(600_000);

/** The block scalar that holds a text. */
function scriptIn(file: string, start: RegExp): string {
  const lines = readFileSync(packageFile(file), 'utf8').split('\n');
  const from = lines.findIndex((line) => start.test(line)) + 1;
  const indent = /^ */.exec(lines[from]!)![0];
  const end = lines.findIndex((line, i) => i > from && line !== '' && !line.startsWith(indent));
  return lines
    .slice(from, end < 0 ? undefined : end)
    .map((line) => line.slice(indent.length))
    .join('\n');
}

function run(
  script: string,
  cwd: string,
  env: Readonly<Record<string, string>>,
): { status: number | null; stdout: string } {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'NODE_OPTIONS'));
  return spawnSync('bash', ['-eo', 'pipefail', '-c', script], { cwd, env: { ...clean, ...env }, encoding: 'utf8' });
}

const broken = (repository: ForeignRepository): void => {
  repository.git('checkout', '-q', '-b', 'work');
  repository.edit('machine-types/pc-acme-1.0.json', '"ssse3"', '"sse4.1"');
  repository.commit('another feature');
};

void t.test('action.yml: a pull request that breaks a pair fails, annotated, with a patch that mends it', async (t) => {
  const repository = new ForeignRepository(t.testdir());
  const script = scriptIn('action.yml', /^ {6}run: \|$/);
  const env = { GITHUB_ACTION_PATH: packageFile('.'), BASE: 'main', CORPORA: 'abi', SARIF: 'guest-abi.sarif' };
  broken(repository);
  const { status, stdout } = run(script, repository.root, env);
  t.equal(status, 1);
  t.match(stdout, /^::error file=abi\/machine-types\/pc-acme-1\.0\.json,line=1,/m);
  t.match(JSON.parse(readFileSync(join(repository.root, 'guest-abi.sarif'), 'utf8')), { version: '2.1.0' });
  execFileSync('git', ['apply', '--check', 'guest-abi.patch'], { cwd: repository.root });
});

void t.test('gitlab-ci.yml: a merge request that breaks a pair fails, with JUnit and a patch', async (t) => {
  const repository = new ForeignRepository(t.testdir());
  const script = scriptIn('docs/ci/gitlab-ci.yml', /^ {4}- \|$/);
  broken(repository);
  repository.git('fetch', '-q', '.', 'main');
  const { status, stdout } = run(script, repository.root, { GUEST_ABI: packageFile('.') });
  t.equal(status, 1);
  t.match(stdout, /^git:[0-9a-f]{12} \(FETCH_HEAD\) > worktree\n\nBROKEN /);
  t.match(
    readFileSync(join(repository.root, 'guest-abi.xml'), 'utf8'),
    /<testsuites name="guest-abi gate" .*failures="1"/,
  );
  execFileSync('git', ['apply', '--check', 'guest-abi.patch'], { cwd: repository.root });
});
