/** Pairs as users write them: `pc-i440fx-2.3/Nehalem,+aes`, and QEMU's `-cpu` strings within. */
import { InputError } from './errors.js';

/** One element after the model name of a `-cpu` string, in the order given. `set` is `f=value`; a bare `f` is `f=on`. */
export type CpuOption =
  | { readonly kind: 'plus' | 'minus'; readonly name: string }
  | { readonly kind: 'set'; readonly name: string; readonly value: string };

/** A `-cpu` string taken apart; nothing is looked up yet. */
export interface CpuSpec {
  readonly model: string;
  readonly options: readonly CpuOption[];
}

/** A pair taken apart. */
export interface PairSpec {
  readonly machine: string;
  readonly cpu: CpuSpec;
}

const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** Reads `Nehalem,+aes,-vme,level=4,pmu`. Throws `InputError` on an empty element or a malformed name. */
export function parseCpu(text: string): CpuSpec {
  const [model = '', ...elements] = text.split(',');
  if (!MODEL_NAME.test(model)) {
    throw new InputError('bad-cpu', `'${text}' does not begin with the name of a CPU model`, { given: text });
  }
  return { model, options: elements.map((element) => parseOption(element, text)) };
}

function parseOption(element: string, text: string): CpuOption {
  const [, sign = '', name = '', equals, value = ''] =
    /^([+-]?)([A-Za-z0-9][A-Za-z0-9._-]*)(=(.*))?$/s.exec(element) ?? [];
  if (!name || (sign && equals !== undefined)) {
    throw new InputError('bad-cpu', `'${element}' in '${text}' is none of +feature, -feature, property=value`, {
      given: element,
    });
  }
  if (sign) return { kind: sign === '+' ? 'plus' : 'minus', name };
  return { kind: 'set', name, value: equals === undefined ? 'on' : value };
}

/** The `-cpu` string that `parseCpu` reads back to an equal value. */
export const formatCpu = (cpu: CpuSpec): string => [cpu.model, ...cpu.options.map(formatOption)].join(',');

const formatOption = (option: CpuOption): string =>
  option.kind === 'set' ? `${option.name}=${option.value}` : `${option.kind === 'plus' ? '+' : '-'}${option.name}`;

/** Reads `pc-i440fx-2.3/Nehalem,+aes`. Throws `InputError` where a part is missing. */
export function parsePair(text: string): PairSpec {
  const slash = text.indexOf('/');
  if (slash < 1) {
    throw new InputError('bad-pair', `'${text}' is not a pair like pc-i440fx-2.3/Nehalem,+aes`, { given: text });
  }
  return { machine: text.slice(0, slash), cpu: parseCpu(text.slice(slash + 1)) };
}

/** The pair that `parsePair` reads back to an equal value. */
export const formatPair = (pair: PairSpec): string => `${pair.machine}/${formatCpu(pair.cpu)}`;
