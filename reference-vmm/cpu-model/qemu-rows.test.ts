/** Rows that real QEMUs handed to KVM_SET_CPUID2 for command lines with properties of every kind, and command lines that they refused. */
import t from 'tap';
import { InputError } from '../../corpora/errors.js';
import { hex32 } from '../../corpora/hex.js';
import { parsePair } from '../../corpora/pair.js';
import { resolve } from './resolve.js';

/** `release pair | -smp | vCPU | leaf subleaf eax ebx ecx edx`; all with `x-force-features=on`. */
const ROWS = `
7.2 pc-q35-7.2/Cooperlake | 6,sockets=1,cores=2,threads=3 | 0 | 00000004 00000002 04008143 03c0003f 00000fff 00000001
7.2 pc-q35-7.2/Haswell | 1,maxcpus=288,sockets=1,cores=144,threads=2 | 0 | 00000001 - 000306c4 01200800 f7fa3203 178bfbff
7.2 pc-q35-7.2/Haswell | 4,sockets=1,dies=1,clusters=1,cores=2,threads=2 | 0 | 00000004 00000002 04004143 03c0003f 00000fff 00000001
11.1 pc-q35-11.1/EPYC,x-force-cpuid-0x1f=on | 1 | 0 | 00000000 - 0000000d 68747541 444d4163 69746e65
11.1 pc-q35-11.1/Haswell,x-force-cpuid-0x1f=on | 1 | 0 | 00000000 - 0000001f 756e6547 6c65746e 49656e69
11.1 pc-q35-11.1/GraniteRapids-v3,-avx10 | 1 | 0 | 00000000 - 00000020 756e6547 6c65746e 49656e69
10.0 pc-i440fx-3.1/Broadwell,intel-pt=on | 1 | 0 | 00000007 00000000 00000000 021c0fb9 00000000 00000000
11.1 pc-q35-11.1/Haswell,avx10=off,avx10-version=2 | 1 | 0 | 00000000 - 00000024 756e6547 6c65746e 49656e69
11.1 pc-q35-11.1/Haswell,avx10=off,avx10-version=2 | 1 | 0 | 00000007 00000001 00000000 00000000 00000000 00080000
11.1 pc-q35-11.1/Haswell,avx10=off,avx10-version=2 | 1 | 0 | 00000024 00000000 00000001 00070002 00000000 00000000
11.1 pc-q35-11.1/Haswell,avx10=off,avx10-version=2 | 1 | 0 | 00000024 00000001 00000000 00000000 00000004 00000000
11.1 pc-q35-11.1/DiamondRapids,avx10-version=1 | 1 | 0 | 00000024 00000000 00000000 00070001 00000000 00000000
11.1 pc-q35-11.1/Haswell,avx10-version=2,-avx10-vnni-int | 1 | 0 | 00000024 00000001 00000000 00000000 00000000 00000000
10.0 pc-q35-10.0/Haswell,avx10-version=2 | 1 | 0 | 00000000 - 0000000d 756e6547 6c65746e 49656e69
5.2 pc-q35-5.2/qemu64,hv-vpindex,hv-synic | 1 | 0 | 40000003 - 00000044 00000000 00000000 00000008
5.2 pc-q35-5.2/qemu64,hv-time | 1 | 0 | 40000003 - 00000222 00000000 00000000 00000008
7.2 pc-q35-5.2/qemu64,hv-vpindex,hv-synic | 1 | 0 | 40000003 - 00000064 00000030 00000000 00000008
5.2 microvm/qemu64 | 1 | 0 | 40000001 - 0100007b 00000000 00000000 00000000
7.2 microvm/qemu64 | 1 | 0 | 40000001 - 0100807b 00000000 00000000 00000000
5.2 pc-1.2/EPYC,xlevel=0x8000001e | 6,sockets=1,cores=2,threads=3 | 3 | 8000001e - 00000003 00000200 00000000 00000000
11.1 pc-q35-11.1/YongFeng,vendor=CentaurHauls,succor=on | 1 | 0 | 80000007 - 00000000 00000002 00000000 00000100
11.1 pc-q35-11.1/Haswell,sgx=on | 1 | 0 | 00000012 00000001 00000000 00000000 00000003 00000000
11.1 pc-q35-11.1/Haswell,tsc_freq=2.5G | 1 | 0 | 40000010 - 002625a0 000f4240 00000000 00000000
11.1 pc-q35-11.1/Haswell,level=010 | 1 | 0 | 00000000 - 00000008 756e6547 6c65746e 49656e69
`;

/** `release pair | -smp`: what QEMU refused, and how it is refused here. */
const REFUSED = `
7.2 microvm/Haswell | 4,dies=2,cores=2 | has neither dies nor modules
11.1 microvm/Haswell | 4,modules=2,cores=2 | has neither dies nor modules
10.0 pc-i440fx-10.0/Haswell | 2,maxcpus=256 | pc-i440fx-10.0 has at most 255 CPUs
10.0 pc-q35-8.0/Haswell | 2,maxcpus=289 | pc-q35-8.0 has at most 288 CPUs
7.2 pc-q35-2.7/Haswell | 256 | pc-q35-2.7 has at most 255 CPUs
7.2 microvm/Haswell | 2,maxcpus=289 | microvm has at most 288 CPUs
7.2 pc-q35-7.2/Haswell | 4,clusters=2,cores=2 | 'clusters=2' is none of
11.1 pc-q35-11.1/qemu32,xlevel=0,phys-bits=40 | 1 | phys-bits cannot be set on a CPU without lm
11.1 pc-q35-11.1/qemu32,guest-phys-bits=40 | 1 | guest-phys-bits cannot be set on a CPU without lm
11.1 pc-q35-11.1/qemu64,xlevel=0x80000001,phys-bits=31 | 1 | phys-bits=31: must be 32 to 52
10.0 pc-q35-10.0/pentium3,legacy-cache=off | 1 | this model describes no caches of its own
11.1 pc-q35-11.1/Haswell,+kvm_hint_dedicated | 1 | unknown CPU property 'kvm_hint_dedicated'; nearest: kvm-hint-dedicated
11.1 pc-q35-11.1/Haswell,x-vendor-cpuid-only=off | 1 | x-vendor-cpuid-only-v2 needs x-vendor-cpuid-only
11.1 pc-q35-11.1/Haswell,fxsr.opt=on | 1 | unknown CPU property 'fxsr.opt'
11.1 pc-q35-11.1/Haswell,tsc-frequency=2G | 1 | must be a number
11.1 pc-q35-11.1/Haswell,tsc-freq=1.5 | 1 | must be a number such as 2500000000 or 2.5G
11.1 pc-q35-11.1/Haswell,avx10-version=3 | 1 | must be at most 2
11.1 pc-q35-11.1/Haswell,hv-version-id-sbranch=256 | 1 | must be at most 255
11.1 pc-q35-11.1/Haswell,level=08 | 1 | must be a number
`;

/** And what it took. */
const TAKEN = `
11.1 pc-q35-11.1/pentium3,legacy-cache=off | 1
11.1 pc-q35-11.1/Haswell,kvm_hint_dedicated,+kvm_steal_time,+sse4_1,-sse4.2 | 1
10.0 pc-q35-8.0/Haswell | 2,maxcpus=288
10.0 pc-q35-8.1/Haswell | 2,maxcpus=1024
11.1 pc-q35-9.0/Haswell | 2,maxcpus=4096
11.1 pc-q35-10.0/Haswell,x-vendor-cpuid-only=off | 1
11.1 pc-q35-11.1/Haswell,-x-vendor-cpuid-only | 1
11.1 pc-q35-11.1/Haswell,ucode-rev=0x100000000 | 1
11.1 pc-q35-11.1/Haswell,avx10-version=0x2 | 4,drawers=1,books=1,clusters=1,modules=2,cores=2
`;

const linesOf = (text: string): string[][] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.split(' | '));

function resolved(pair: string, smp: string) {
  const [, release = '', machine = ''] = /^(\S+) ([^/]+)\//.exec(pair)!;
  const { cpu } = parsePair(pair.slice(release.length + 1));
  const options = [...cpu.options, { kind: 'set', name: 'x-force-features', value: 'on' } as const];
  return resolve({ machine, cpu: { ...cpu, options }, smp, release });
}

function refusalOf(pair: string, smp: string): string | null {
  try {
    resolved(pair, smp);
    return null;
  } catch (error) {
    return error instanceof InputError ? error.message : `no InputError: ${String(error)}`;
  }
}

void t.test('rows are those that QEMU gave to KVM', async (t) => {
  for (const [pair = '', smp = '', vcpu = '', row = ''] of linesOf(ROWS)) {
    const [leaf = '', subleaf = '', ...registers] = row.split(' ');
    const number = subleaf === '-' ? null : Number.parseInt(subleaf, 16);
    const found = resolved(pair, smp).vcpus[Number(vcpu)]!.cpuid.get(Number.parseInt(leaf, 16), number);
    const shown = found && [found.eax, found.ebx, found.ecx, found.edx].map((word) => hex32(word).slice(2));
    t.same(shown, registers, `${pair} -smp ${smp}: ${leaf}.${subleaf}`);
  }
});

void t.test('what QEMU refused is refused, and what it took is taken', async (t) => {
  for (const [pair = '', smp = '', why = ''] of linesOf(REFUSED)) {
    t.match(refusalOf(pair, smp), why, pair);
  }
  for (const [pair = '', smp = ''] of linesOf(TAKEN)) t.equal(refusalOf(pair, smp), null, pair);
});
