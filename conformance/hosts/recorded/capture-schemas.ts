/** What a capture file must look like: ours, and the dump of a KVM's answers by ioctl. */
import { z } from 'zod';
import { captureSchema } from '../agent/protocol.js';

export const captureFileSchema = captureSchema.extend({ origin: z.string().optional() });

const word = z.string().regex(/^0x[0-9a-fA-F]{1,8}$/);
const value = z.string().regex(/^0x[0-9a-fA-F]{1,16}$/);

const row = z.object({ leaf: word, subleaf: word, eax: word, ebx: word, ecx: word, edx: word });
/** `flags` is `struct kvm_cpuid_entry2`'s: bit 0 marks a leaf whose subleaves count. */
const kvmRow = row.extend({ flags: z.int().min(0) });

const parameter = z.string().nullish();

/** The dump; what is not here is not looked at. */
export const dumpSchema = z.object({
  kernel: z.string(),
  kernelVersion: z.string(),
  /** First processor of /proc/cpuinfo. */
  cpuinfo0: z.string(),
  qemuCpu: z.string().optional(),
  supportedCpuid: z.array(kvmRow),
  emulatedCpuid: z.array(kvmRow),
  hostCpuid: z.array(row),
  /** KVM_GET_CPUID2 after setting the supported table; old kernels leave rows of zeros behind it. */
  vcpuCpuid: z.array(kvmRow),
  msrIndexList: z.array(word),
  msrFeatureIndexList: z.array(word),
  msrFeatureValues: z.record(word, value.nullable()),
  caps: z.record(z.string(), z.int()),
  paramIgnoreMsrs: parameter,
  paramTdpMmu: parameter,
  paramAvic: parameter,
  paramNested: parameter,
  paramNpt: parameter,
  paramTscScaling: parameter,
});
export type KvmDump = z.infer<typeof dumpSchema>;
