/** What a QMP session makes of what clients send, without a machine: message boundaries, arguments, QEMU's errors. */
import fc from 'fast-check';
import t from 'tap';
import { JsonStream } from './json-stream.js';
import { command } from './qmp-command.js';
import { QmpError } from './qmp-error.js';
import { QmpSession } from './qmp-session.js';

void t.test('messages are found wherever the stream is cut, and whatever stands between them', async (t) => {
  const messages = fc.array(fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.array(fc.jsonValue())), {
    maxLength: 5,
  });
  fc.assert(
    fc.property(
      messages,
      fc.constantFrom('', ' ', '\n', '\r\n'),
      fc.integer({ min: 1, max: 9 }),
      (all, between, size) => {
        const text = all.map((message) => JSON.stringify(message)).join(between);
        const stream = new JsonStream(1 << 20);
        const found: string[] = [];
        for (let at = 0; at < text.length; at += size) found.push(...stream.push(text.slice(at, at + size)));
        t.strictSame(
          found,
          all.map((message) => JSON.stringify(message)),
        );
      },
    ),
    { seed: 1, numRuns: 200 },
  );
  const stream = new JsonStream(100);
  t.strictSame(stream.push('}{"a":"}"}'), ['}', '{"a":"}"}'], 'a bracket too many ends nothing else');
  t.throws(() => stream.push(`{"a":"${'x'.repeat(100)}`), { name: 'RangeError' });
});

const VERSION = { qemu: { major: 1, minor: 2, micro: 3 }, package: 'test' };
const COMMANDS = {
  add: command({ a: 'integer', 'b?': 'integer' }, ({ a, b = 0 }: { a: number; b?: number }) => a + b),
  pick: command({ one: { enum: ['x', 'y'] }, 'of?': { list: { object: { name: 'string' } } } }, () => undefined),
  fails: command({}, () => {
    throw new QmpError('no such thing', 'DeviceNotFound');
  }),
};

/** Everything that a session says to these texts. */
async function said(...texts: readonly string[]): Promise<object[]> {
  const out: object[] = [];
  const session = new QmpSession(
    VERSION,
    () => COMMANDS,
    (text) => void out.push(JSON.parse(text) as object),
  );
  for (const text of texts) session.receive(text);
  session.event('EARLY', undefined, 0);
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
  session.event('LATE', { a: 1 }, 1_500.25);
  return out;
}

const NEGOTIATE = '{"execute":"qmp_capabilities"}';
const failing = (desc: string, qmpClass = 'GenericError') => ({ error: { class: qmpClass, desc } });

void t.test('a session greets, negotiates, answers in order with ids, and tells events then', async (t) => {
  const ask = (id: unknown, a: number) => JSON.stringify({ execute: 'add', arguments: { a, b: 1 }, id });
  t.strictSame(await said('{"execute":"add"}', NEGOTIATE, NEGOTIATE, ask('x', 1) + ask({ n: 2 }, 2)), [
    { QMP: { version: VERSION, capabilities: [] } },
    failing("Expecting capabilities negotiation with 'qmp_capabilities'", 'CommandNotFound'),
    { return: {} },
    failing('Capabilities negotiation is already complete, command ignored', 'CommandNotFound'),
    { return: 2, id: 'x' },
    { return: 3, id: { n: 2 } },
    { timestamp: { seconds: 1, microseconds: 500_250 }, event: 'LATE', data: { a: 1 } },
  ]);
});

void t.test('what is no command, or has wrong arguments, gets the words of QEMU', async (t) => {
  const cases: readonly [message: string, reply: object][] = [
    ['{"execute":"nope"}', failing('The command nope has not been found', 'CommandNotFound')],
    ['{"execute":"__proto__"}', failing('The command __proto__ has not been found', 'CommandNotFound')],
    ['{"execute":3}', failing("QMP input member 'execute' must be a string")],
    ['{"execute":"add","arguments":3}', failing("QMP input member 'arguments' must be an object")],
    ['{"foo":3}', failing("QMP input member 'foo' is unexpected")],
    ['{"id":3}', { ...failing("QMP input lacks member 'execute'"), id: 3 }],
    ['[1]', failing('QMP input must be a JSON object')],
    ['{"execute":"fails"}', failing('no such thing', 'DeviceNotFound')],
    ['{"execute":"add"}', failing("Parameter 'a' is missing")],
    ['{"execute":"add","arguments":{"a":1,"c":1}}', failing("Parameter 'c' is unexpected")],
    ['{"execute":"add","arguments":{"a":1.5}}', failing("Invalid parameter type for 'a', expected: integer")],
    ['{"execute":"pick","arguments":{"one":"z"}}', failing("Parameter 'one' does not accept value 'z'")],
    [
      '{"execute":"pick","arguments":{"one":"x","of":[{"name":3}]}}',
      failing("Invalid parameter type for 'of[0].name', expected: string"),
    ],
  ];
  for (const [message, reply] of cases) t.strictSame((await said(NEGOTIATE, message))[2], reply, message);
  t.match((await said(NEGOTIATE, 'foo\n'))[2], failing(/^JSON parse error/ as unknown as string));
});

void t.test('whatever comes, a session answers and goes on', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.string({ maxLength: 40 }).filter((text) => !/["[\]{}]/.test(text)),
      async (noise) => {
        const out = await said(`${noise}\n`, NEGOTIATE);
        t.ok(
          out.some((message) => 'return' in message),
          JSON.stringify(noise),
        );
      },
    ),
    { seed: 2, numRuns: 50 },
  );
});
