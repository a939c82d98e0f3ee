/** The chain of machine types behind one: compat properties from the newest down to it, as QEMU applies them. */
import type { BoardFacts, Definitions, MachineTypeDefinition, Properties } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';

/** A machine type with everything that applies to it. */
export interface MachineChoice {
  readonly definition: MachineTypeDefinition;
  /** Newest first: the order of application, the last one wins. */
  readonly chain: readonly MachineTypeDefinition[];
  /** KVM's defaults on this machine type; null where the model's own value stands. */
  readonly kvmDefaults: Properties;
  readonly board: BoardFacts;
}

/**
 * Looks a machine type up. An unversioned one (`follows`) gives the CPUs of the newest machine type, or of the newest one of
 * `release` where that is given. Throws `InputError` for an unknown name.
 */
export function chooseMachine(definitions: Definitions, name: string, release?: string): MachineChoice {
  const definition = definitions.machine(name);
  const chain = [definition];
  const newest = definition.follows && release ? definitions.machineIndex.newest[release] : undefined;
  for (let next = newest ?? definition.newer; next !== null; ) {
    const newer = definitions.machine(next);
    if (chain.includes(newer))
      throw new InputError('bad-corpora-file', `machine type ${next} is newer than itself`, {
        given: name,
      });
    chain.push(newer);
    next = newer.newer;
  }
  chain.reverse();
  const kvmDefaults = Object.assign({}, definitions.cpuClass.kvmDefaults, ...chain.map((one) => one.kvmDefaults));
  const { onlyIn } = definitions.cpuClass;
  for (const name in kvmDefaults) if (release && onlyIn[name]?.includes(release) === false) delete kvmDefaults[name];
  const board = Object.assign({}, ...chain.map((one) => one.board));
  return { definition, chain, kvmDefaults, board };
}
