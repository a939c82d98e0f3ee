/** The comparator itself is tested: its own checks say nothing of it, and notice every mutant of it. */
import t from 'tap';
import { blindSpots } from '../oracle/self-check.js';
import { COMPARATOR_MUTANTS, playComparators, REAL } from './comparators.js';

void t.test('the comparator has no blind spot', async (t) => {
  t.same([...blindSpots(REAL)], []);
});

void t.test('every mutant of the comparator is noticed', async (t) => {
  const ends = playComparators();
  t.equal(ends.length, Object.keys(COMPARATOR_MUTANTS).length);
  for (const { name, end, finding } of ends) t.equal(end, 'caught', `${name}: ${finding}`);
});
