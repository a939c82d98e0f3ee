/** Handlers that give each guest to the hypervisor that its request names: the reference monitor, or a QEMU of this host. */
import { kvmHandlers } from './handlers.js';
import type { Outcome, Params } from './protocol.js';
import type { Handlers } from './server.js';

type Qemu = import('../../subjects/qemu/handlers.js').QemuHandlers;

/** A QEMU is started, and what speaks to it loaded, only where a request names one. */
export function subjectHandlers(own: Handlers & Disposable = kvmHandlers()): Handlers & AsyncDisposable {
  let qemu: Qemu | null = null;
  /** True while the guest is QEMU's. */
  let isQemus = false;
  const turn = async (request: Params<'boot'>): Promise<Qemu | null> => {
    await end();
    isQemus = request.qemu !== undefined;
    if (!isQemus) return null;
    qemu ??= new (await import('../../subjects/qemu/handlers.js')).QemuHandlers();
    return qemu;
  };
  const end = async (): Promise<Record<string, never>> => {
    await qemu?.close();
    return own.close({});
  };
  return {
    ...own,
    boot: async (request) => (await turn(request))?.boot(request) ?? own.boot(request),
    restore: async (request) => (await turn(request))?.restore(request) ?? own.restore(request),
    listen: async (request) => (await turn(request))?.listen(request) ?? own.listen(request),
    command: (params): Outcome | Promise<Outcome> => (isQemus ? qemu!.command(params) : own.command(params)),
    'write-msr': (params) => (isQemus ? qemu!.writeMsr(params) : own['write-msr'](params)),
    save: (params) => (isQemus ? qemu!.save(params) : own.save(params)),
    'save-live': (params) => (isQemus ? qemu!.saveLive(params) : own['save-live'](params)),
    send: (params) => (isQemus ? qemu!.send(params) : own.send(params)),
    received: (params) => (isQemus ? qemu!.received(params) : own.received(params)),
    close: end,
    [Symbol.asyncDispose]: async () => {
      await qemu?.[Symbol.asyncDispose]();
      own[Symbol.dispose]();
    },
  };
}
