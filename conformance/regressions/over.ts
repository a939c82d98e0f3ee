/** An object with some of its methods replaced: how a part that does wrong is put before one that does right. */
import type { Kvm, Vcpu, Vm } from '../../reference-vmm/kvm/kvm.js';

/** `target` with `changes` before it; all else goes to `target` itself. */
export const over = <T extends object>(target: T, changes: Partial<T>): T =>
  new Proxy(target, {
    get(own, key) {
      if (Object.hasOwn(changes, key)) return changes[key as keyof T];
      const value: unknown = Reflect.get(own, key, own);
      return typeof value === 'function' ? (value.bind(own) as unknown) : value;
    },
  });

/** `kvm` with each VM and each vCPU changed. */
export const overGuests = (
  kvm: Kvm,
  change: { readonly vm?: (vm: Vm) => Partial<Vm>; readonly vcpu?: (vcpu: Vcpu) => Partial<Vcpu> },
): Kvm =>
  over(kvm, {
    createVm: () => {
      const vm = kvm.createVm();
      return over(vm, {
        createVcpu: (id) => {
          const vcpu = vm.createVcpu(id);
          return over(vcpu, change.vcpu?.(vcpu) ?? {});
        },
        ...change.vm?.(vm),
      });
    },
  });
