/** Are the results of a log that is gone on with those of today's definitions? What was held to another CPU says nothing of this one. */
import { InputError } from '../../corpora/errors.js';
import { digestOf, logLife } from '../../reports/logged-life.js';
import { cellKey, isOfSameDefinitions, type LoggedCell } from '../../reports/result-log.js';
import { type Cell, cellName, keyOf } from './cell.js';
import { isTime } from './log-writer.js';
import { expectedOf, lifeOf, type RunOptions } from './runner.js';

/** Throws `InputError` `log-of-other-definitions` on the first result whose guest had to show, or was given, another CPU than its cell has now. */
export function refuseOtherDefinitions(
  file: string,
  done: readonly LoggedCell[],
  cells: readonly Cell[],
  options: RunOptions,
): void {
  const logged = new Map(done.map((cell) => [cellKey(cell), cell]));
  for (const cell of cells) {
    const before = logged.get(cellKey(keyOf(cell)));
    if (!before?.life?.expected.length) continue;
    const expectation = expectedOf(cell, options);
    const { expected } = logLife(lifeOf(expectation, []), digestOf, isTime);
    if (isOfSameDefinitions(before, { life: { expected }, reasons: expectation.broken })) continue;
    throw new InputError(
      'log-of-other-definitions',
      `${file}: ${cellName(cell)} was run with other definitions or contracts than today's: begin a new log`,
      { given: file },
    );
  }
}
