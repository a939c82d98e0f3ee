/** Tests of reading apt sources and turning them to another suite. */
import fc from 'fast-check';
import t from 'tap';
import { formatSource, parseDeb822, parseOneLine, sourceOf } from './apt-sources.js';

const DEB822 = `# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: sid
Components: main
`;

void t.test('deb822: every URI and suite, comments and disabled stanzas left out', async (t) => {
  const sources = parseDeb822(DEB822);
  t.same(
    sources.map((source) => `${source.uri} ${source.suite}`),
    [
      'http://mirror.example/debian bookworm',
      'http://mirror.example/debian bookworm-updates',
      'http://mirror.example/debian-security bookworm-security',
    ],
  );
  t.match(sources[2]?.signedBy, /BEGIN PGP.*\n \.\n mQINBF/);
});

void t.test('one-line: options in any order, sources and comments left out', async (t) => {
  const text = [
    'deb [arch=amd64 signed-by=/k/a.gpg,/k/b.gpg trusted=yes] https://m.example/debian trixie main',
    'deb-src https://m.example/debian trixie main',
    '#deb https://off.example/debian trixie main',
    'deb http://plain.example/debian/ sid main contrib',
  ].join('\n');
  t.same(parseOneLine(text), [
    { uri: 'https://m.example/debian', suite: 'trixie', signedBy: '/k/a.gpg /k/b.gpg' },
    { uri: 'http://plain.example/debian/', suite: 'sid', signedBy: null },
  ]);
});

void t.test('another suite keeps mirror and keys; security suites take the security mirror', async (t) => {
  const machine = parseDeb822(DEB822);
  t.equal(sourceOf('sid', machine).uri, 'http://mirror.example/debian');
  t.equal(sourceOf('trixie-backports', machine).signedBy, '/usr/share/keyrings/debian-archive-keyring.gpg');
  t.equal(sourceOf('bullseye-security', machine).uri, 'http://mirror.example/debian-security');
  const onlyMain = machine.slice(0, 1);
  t.equal(sourceOf('bullseye-security', onlyMain).uri, 'http://mirror.example/debian-security');
});

void t.test('sources of other software are never taken for Debian', async (t) => {
  const machine = parseOneLine('deb https://packages.example/apt cloud-sdk-bookworm main');
  t.throws(() => sourceOf('trixie', machine), { code: 'no-debian-source', exitCode: 3 });
});

void t.test('what is written can be read back', async () => {
  const word = fc.stringMatching(/^[a-z0-9][a-z0-9./-]{0,20}$/);
  fc.assert(
    fc.property(word, word, fc.option(word), (host, suite, key) => {
      const source = { uri: `http://${host}`, suite, signedBy: key };
      const [read, ...more] = parseDeb822(formatSource(source));
      return more.length === 0 && JSON.stringify(read) === JSON.stringify(source);
    }),
    { seed: 4 },
  );
});
