/** QMP commands of the machine as a whole: its state, its name, its vCPUs, and its end. */
import type { SmpShape } from '../../corpora/identity.js';
import { topologyIds } from '../cpu-model/topology.js';
import type { ControlledMachine } from './controlled-machine.js';
import { command, type QmpCommands } from './qmp-command.js';

const NO_UUID = '00000000-0000-0000-0000-000000000000';

/** Where a vCPU stands in QEMU's object tree. */
export const qomPathOf = (index: number): string => `/machine/unattached/device[${index}]`;

/** The type of this machine's vCPUs. */
export const cpuTypeOf = ({ live }: ControlledMachine): string => `${live.identity.cpuModel}-x86_64-cpu`;

export const runStateCommands = (machine: ControlledMachine, name: string | null): QmpCommands => ({
  'query-status': command({}, () => ({ status: machine.state, running: machine.state === 'running' })),
  stop: command({}, () => machine.stop()),
  cont: command({}, () => machine.cont()),
  system_reset: command({}, () => machine.reset()),
  quit: command({}, () => machine.quit()),
  'query-name': command({}, () => (name === null ? {} : { name })),
  'query-kvm': command({}, () => ({ enabled: true, present: true })),
  'query-uuid': command({}, () => ({ UUID: NO_UUID })),
  'query-target': command({}, () => ({ arch: 'x86_64' })),
  'query-cpus-fast': command({}, () => cpusOf(machine)),
  'query-hotpluggable-cpus': command({}, () =>
    cpusOf(machine)
      .reverse()
      .map(({ props, 'qom-path': path, 'qom-type': type }) => ({ props, 'vcpus-count': 1, 'qom-path': path, type })),
  ),
});

function cpusOf(machine: ControlledMachine) {
  const { identity } = machine.live;
  return identity.vcpus.map(({ index }) => ({
    'thread-id': process.pid,
    'qom-type': cpuTypeOf(machine),
    props: placeOf(index, identity.smp),
    'qom-path': qomPathOf(index),
    'cpu-index': index,
    target: 'x86_64',
  }));
}

/** QEMU's CpuInstanceProperties; dies and modules only where there are several. */
function placeOf(index: number, smp: SmpShape) {
  const { socket, die, module, core, thread } = topologyIds(smp, index);
  return {
    'core-id': core,
    'thread-id': thread,
    ...(smp.modules > 1 && { 'module-id': module }),
    ...(smp.dies > 1 && { 'die-id': die }),
    'socket-id': socket,
  };
}
