/** Tables of what differs: CPUID by leaf, register and bit with its name, and MSRs. */

import type { Vcpu } from './data.js';
import { type Child, h } from './dom.js';
import { bitName, bitsOf, type CpuidDifference, hex, type Model, msrsOf, placeName, REGISTER_NAMES } from './model.js';

/** What the two sides are called. */
export type Sides = readonly [string, string];

/** One line per register or row; `mark` says what a difference is. */
export function cpuidTable(
  model: Model,
  found: readonly CpuidDifference[],
  [before, after]: Sides,
  mark?: (one: CpuidDifference) => string,
): HTMLElement {
  return h(
    'div',
    { class: 'scroll' },
    h(
      'table',
      { class: 'diff' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ['CPUID', before, after, 'Bits', ...(mark ? ['What it is'] : [])].map((name) =>
            h('th', { scope: 'col' }, name),
          ),
        ),
      ),
      h(
        'tbody',
        {},
        found.map((one) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row' }, nameOf(one)),
            h('td', { class: 'value' }, valueText(one.before, one.after)),
            h('td', { class: 'value' }, valueText(one.after, one.before)),
            h('td', {}, bits(model, one)),
            ...(mark ? [h('td', {}, mark(one))] : []),
          ),
        ),
      ),
    ),
  );
}

const nameOf = ({ place, register }: CpuidDifference): string =>
  `${placeName(place)}${register === null ? '' : `.${REGISTER_NAMES[register]}`}`;

/** Digits that differ from the other side are set off. */
function valueText(values: readonly number[] | null, others: readonly number[] | null): Child {
  if (values === null) return h('span', { class: 'absent' }, 'no row');
  if (others === null) return values.map(hex).join(' ');
  const [own, other] = [hex(values[0]!), hex(others[0]!)];
  return own.split('').map((digit, i) => (digit === other[i] ? digit : h('b', {}, digit)));
}

function bits(model: Model, { place, register, before, after }: CpuidDifference): Child {
  if (register === null) return before === null ? 'row added' : 'row missing';
  const [was, is] = [before![0]!, after![0]!];
  const differing = bitsOf(was ^ is);
  // A whole number, such as a signature or a size, is no set of flags.
  if (differing.every((bit) => bitName(model, place, register, bit).startsWith('[')))
    return h('span', { class: 'muted' }, differing.map((bit) => `[${bit}]`).join(' '));
  return h(
    'ul',
    { class: 'bits' },
    differing.map((bit) => {
      const on = ((is >>> bit) & 1) === 1;
      return h(
        'li',
        { class: on ? 'on' : 'off' },
        `${on ? '+' : '−'}${bitName(model, place, register, bit)}`,
        h('small', {}, ` ${bit}`),
      );
    }),
  );
}

/** An MSR that a contract lacks is denied. */
const DENIED = '#GP';

/** MSRs in which two vCPUs differ, or all that either has; `absent` is what the second one's missing ones mean. */
export function msrTable(
  model: Model,
  before: Vcpu,
  after: Vcpu,
  [one, other]: Sides,
  { all, absent }: { readonly all: boolean; readonly absent: string },
): HTMLElement | null {
  const [first, second] = [msrsOf(model, before), msrsOf(model, after)];
  const was = (index: string): string => first.get(index) ?? DENIED;
  const is = (index: string): string => second.get(index) ?? absent;
  const indices = [...new Set([...first.keys(), ...second.keys()])].sort();
  const shown = indices.filter((index) => all || was(index) !== is(index));
  if (shown.length === 0) return null;
  return h(
    'div',
    { class: 'scroll' },
    h(
      'table',
      { class: 'diff' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ['MSR', 'Name', one, other].map((name) => h('th', { scope: 'col' }, name)),
        ),
      ),
      h(
        'tbody',
        {},
        shown.map((index) =>
          h(
            'tr',
            { class: was(index) === is(index) ? null : 'differs' },
            h('th', { scope: 'row' }, `0x${index}`),
            h('td', {}, model.msrs[index] ?? ''),
            h('td', { class: 'value' }, was(index)),
            h('td', { class: 'value' }, is(index)),
          ),
        ),
      ),
    ),
  );
}
