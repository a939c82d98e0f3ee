/* The C floor of the probe path: the ioctls of one boot in the order of the monitor, on the same probe, table, MSRs and request, and nothing else.
 * usage: floor PROBE.elf FOLDER MEMORY_BYTES
 * In FOLDER, written by floor.ts: `table` (struct kvm_cpuid_entry2 each), `request` (the probe's multiboot module), `resets` (struct kvm_msr_entry
 * each: what the vCPU is given), `answers` (the same: what a filtered read gets; all other accesses that are filtered fault), `filter` (ranges:
 * flags, number of MSRs, base, 0, all u32, then the bitmap in 64-bit words).
 * Each byte on stdin asks for one round; a round prints two times in microseconds, both from before KVM_CREATE_VM: until the record is copied and
 * its checksum holds, and until everything is closed. At the end of stdin the last record is written to FOLDER/record. */
#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PROBE_PORT = 0xe9, DOORBELL = 0xd0, MAX_ENTRIES = 256, PAGE = 4096, IOAPIC_PINS = 24, BLOCK = 64 };
#define ROM 0xfffff000u

struct bytes { uint8_t *at; size_t size; };
struct entries { struct kvm_msr_entry *at; size_t count; };
static struct bytes elf, request, table, record;
static struct entries resets, answers;
static struct kvm_msr_filter filter;
static size_t memory;
static int kvm, run_size;

static struct bytes slurp(const char *path) {
  int fd = open(path, O_RDONLY);
  struct stat st;
  if (fd < 0 || fstat(fd, &st)) { perror(path); exit(2); }
  struct bytes bytes = {malloc(st.st_size + 1), st.st_size};
  if (read(fd, bytes.at, st.st_size) != st.st_size) { perror(path); exit(2); }
  close(fd);
  return bytes;
}

static struct entries entries(struct bytes bytes) {
  return (struct entries){(void *)bytes.at, bytes.size / sizeof(struct kvm_msr_entry)};
}

static struct kvm_msr_filter ranges(struct bytes bytes) {
  struct kvm_msr_filter all = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};
  const uint32_t *word = (void *)bytes.at, *end = (void *)(bytes.at + bytes.size);
  for (int i = 0; word < end; i++) {
    all.ranges[i] = (struct kvm_msr_filter_range){.flags = word[0], .nmsrs = word[1], .base = word[2], .bitmap = (void *)(word + 4)};
    word += 4 + (word[1] + 63) / 64 * 2;
  }
  return all;
}

static int ask(int fd, unsigned long request, const void *argument, const char *name) {
  int rc = ioctl(fd, request, argument);
  if (rc < 0) { perror(name); exit(3); }
  return rc;
}
#define ASK(fd, request, argument) ask(fd, request, argument, #request)

static uint32_t page_up(uint32_t address) { return (address + PAGE - 1) & -PAGE; }

/* Program headers to their physical addresses, then the request as the one module, then multiboot information; memory is zero already. */
static struct kvm_regs load(uint8_t *ram) {
  const Elf32_Ehdr *head = (const Elf32_Ehdr *)elf.at;
  const Elf32_Phdr *program = (const Elf32_Phdr *)(elf.at + head->e_phoff);
  uint32_t end = 0;
  for (int i = 0; i < head->e_phnum; i++)
    if (program[i].p_type == PT_LOAD && program[i].p_memsz) {
      memcpy(ram + program[i].p_paddr, elf.at + program[i].p_offset, program[i].p_filesz);
      if (program[i].p_paddr + program[i].p_memsz > end) end = program[i].p_paddr + program[i].p_memsz;
    }
  uint32_t start = page_up(end), info = page_up(start + request.size);
  memcpy(ram + start, request.at, request.size);
  uint32_t words[22] = {[0] = 1 << 3, [5] = 1, [6] = info + sizeof words};
  uint32_t module[4] = {start, start + request.size};
  memcpy(ram + info, words, sizeof words);
  memcpy(ram + info + sizeof words, module, sizeof module);
  return (struct kvm_regs){.rip = head->e_entry, .rax = 0x2badb002, .rbx = info, .rflags = 2};
}

/* Copies the record and checks its sums. */
static void take(const uint8_t *at) {
  uint32_t a = 0, b = 0, word;
  memcpy(&word, at + 8, 4);
  record.size = word;
  record.at = realloc(record.at, record.size);
  memcpy(record.at, at, record.size);
  for (size_t i = 0, end = record.size - 8; i < end;) {
    memcpy(&word, record.at + i, 4);
    a += word;
    i += 4;
    if ((end - i) % BLOCK == 0) b += a;
  }
  if (memcmp(record.at + record.size - 8, &a, 4) || memcmp(record.at + record.size - 4, &b, 4)) { fprintf(stderr, "checksum\n"); exit(3); }
}

static void answer(volatile struct kvm_run *state) {
  state->msr.error = 1;
  for (size_t i = 0; state->exit_reason == KVM_EXIT_X86_RDMSR && i < answers.count; i++)
    if (answers.at[i].index == state->msr.index) { state->msr.data = answers.at[i].data; state->msr.error = 0; return; }
}

/* Runs until the record's address is written to the probe port. */
static void run(int vcpu, volatile struct kvm_run *state, const uint8_t *ram) {
  for (;;) {
    ASK(vcpu, KVM_RUN, 0);
    if (state->exit_reason == KVM_EXIT_X86_RDMSR || state->exit_reason == KVM_EXIT_X86_WRMSR) { answer(state); continue; }
    uint8_t *data = (uint8_t *)state + state->io.data_offset;
    if (state->exit_reason != KVM_EXIT_IO || state->io.port != PROBE_PORT) { fprintf(stderr, "exit %u\n", state->exit_reason); exit(3); }
    if (state->io.direction == KVM_EXIT_IO_IN) { *data = DOORBELL; continue; }
    uint32_t at;
    memcpy(&at, data, 4);
    return take(ram + at);
  }
}

static uint8_t *map(int vm, int slot, int flags, uint64_t address, size_t size) {
  uint8_t *ram = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  struct kvm_userspace_memory_region region = {.slot = slot, .flags = flags, .guest_phys_addr = address, .memory_size = size, .userspace_addr = (uintptr_t)ram};
  ASK(vm, KVM_SET_USER_MEMORY_REGION, &region);
  return ram;
}

static void enter(int vcpu, struct kvm_regs regs) {
  struct kvm_segment code = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1}, data = code;
  data.selector = 16;
  data.type = 3;
  struct kvm_sregs sregs;
  ASK(vcpu, KVM_GET_SREGS, &sregs);
  sregs.cs = code;
  sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
  sregs.tr = (struct kvm_segment){.limit = 0x67, .selector = 0x18, .type = 11, .present = 1};
  sregs.cr0 = 0x11;
  ASK(vcpu, KVM_SET_SREGS, &sregs);
  ASK(vcpu, KVM_SET_REGS, &regs);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void enable(int fd, uint32_t cap, uint64_t argument) {
  struct kvm_enable_cap request = {.cap = cap, .args = {argument}};
  ASK(fd, KVM_ENABLE_CAP, &request);
}

/* Gives the vCPU its table and MSRs, and reads both back. */
static void give(int vcpu) {
  static struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 rows[MAX_ENTRIES]; } set, got;
  set.head.nent = table.size / sizeof *set.rows;
  memcpy(set.rows, table.at, table.size);
  ASK(vcpu, KVM_SET_CPUID2, &set);
  got.head.nent = MAX_ENTRIES;
  ASK(vcpu, KVM_GET_CPUID2, &got);
  static struct { struct kvm_msrs head; struct kvm_msr_entry rows[MAX_ENTRIES]; } msrs;
  msrs.head.nmsrs = resets.count;
  memcpy(msrs.rows, resets.at, resets.count * sizeof *resets.at);
  if (ASK(vcpu, KVM_SET_MSRS, &msrs) != (int)resets.count || ASK(vcpu, KVM_GET_MSRS, &msrs) != (int)resets.count) { fprintf(stderr, "MSRs\n"); exit(3); }
}

/* One boot; gives the time when the record was in hand. */
static double probe(void) {
  int vm = ASK(kvm, KVM_CREATE_VM, 0);
  uint64_t identity_map = 0xfffbc000;
  ASK(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000);
  ASK(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
  enable(vm, KVM_CAP_SPLIT_IRQCHIP, IOAPIC_PINS);
  uint8_t *ram = map(vm, 0, 0, 0, memory), *rom = map(vm, 1, KVM_MEM_READONLY, ROM, PAGE);
  memcpy(rom + 0xff0, "\xe6\xf8\xf4\xeb\xfd", 5);
  int vcpu = ASK(vm, KVM_CREATE_VCPU, 0);
  volatile struct kvm_run *state = mmap(0, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  struct { struct kvm_signal_mask head; uint64_t set; } mask = {.head = {.len = 8}};
  ASK(vcpu, KVM_SET_SIGNAL_MASK, &mask);
  give(vcpu);
  enable(vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER);
  ASK(vm, KVM_X86_SET_MSR_FILTER, &filter);
  enable(vcpu, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1);
  enter(vcpu, load(ram));
  run(vcpu, state, ram);
  double done = now();

  munmap((void *)state, run_size);
  close(vcpu);
  close(vm);
  munmap(ram, memory);
  munmap(rom, PAGE);
  return done;
}

int main(int argc, char **argv) {
  if (argc != 4) { fprintf(stderr, "usage: floor PROBE.elf FOLDER MEMORY_BYTES\n"); return 2; }
  elf = slurp(argv[1]);
  if (chdir(argv[2])) { perror(argv[2]); return 2; }
  table = slurp("table");
  request = slurp("request");
  resets = entries(slurp("resets"));
  answers = entries(slurp("answers"));
  filter = ranges(slurp("filter"));
  memory = strtoul(argv[3], 0, 0);
  kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) { perror("/dev/kvm"); return 3; }
  run_size = ASK(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  for (char byte; read(0, &byte, 1) == 1;) {
    double start = now(), done = probe();
    printf("%.1f %.1f\n", done - start, now() - start);
    fflush(stdout);
  }
  int fd = open("record", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, record.at, record.size) != (ssize_t)record.size) { perror("record"); return 2; }
  return 0;
}
