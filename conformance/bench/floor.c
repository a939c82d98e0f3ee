/* The C floor of the probe path: the ioctls of one boot, on the same probe and table, and nothing else.
 * usage: floor PROBE.elf TABLE.bin MEMORY_BYTES ROUNDS
 * TABLE.bin is an array of struct kvm_cpuid_entry2. Prints microseconds per round, one a line: VM creation to record in hand. */
#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PROBE_PORT = 0xe9, DOORBELL = 0xd0, MAX_ENTRIES = 256 };

static void *slurp(const char *path, size_t *size) {
  int fd = open(path, O_RDONLY);
  struct stat st;
  if (fd < 0 || fstat(fd, &st)) { perror(path); exit(2); }
  void *bytes = malloc(st.st_size);
  if (read(fd, bytes, st.st_size) != st.st_size) { perror(path); exit(2); }
  close(fd);
  *size = st.st_size;
  return bytes;
}

static int ask(int fd, unsigned long request, void *argument, const char *name) {
  int rc = ioctl(fd, request, argument);
  if (rc < 0) { perror(name); exit(3); }
  return rc;
}
#define ASK(fd, request, argument) ask(fd, request, argument, #request)

/* Loads the program headers at their physical addresses; the entry point is in eip. */
static uint32_t load(const uint8_t *elf, uint8_t *ram) {
  const Elf32_Ehdr *head = (const Elf32_Ehdr *)elf;
  const Elf32_Phdr *program = (const Elf32_Phdr *)(elf + head->e_phoff);
  for (int i = 0; i < head->e_phnum; i++)
    if (program[i].p_type == PT_LOAD) {
      memcpy(ram + program[i].p_paddr, elf + program[i].p_offset, program[i].p_filesz);
      memset(ram + program[i].p_paddr + program[i].p_filesz, 0, program[i].p_memsz - program[i].p_filesz);
    }
  return head->e_entry;
}

static void flat(struct kvm_segment *segment, int type, int selector) {
  *segment = (struct kvm_segment){.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .db = 1, .s = 1, .g = 1};
}

/* Runs until the record's address is written to the probe port; gives the sum of the record's words, so that it was read. */
static uint32_t run(int vcpu, volatile struct kvm_run *state, const uint8_t *ram) {
  for (;;) {
    ASK(vcpu, KVM_RUN, 0);
    uint8_t *data = (uint8_t *)state + state->io.data_offset;
    if (state->exit_reason != KVM_EXIT_IO || state->io.port != PROBE_PORT) {
      fprintf(stderr, "exit %u\n", state->exit_reason);
      exit(3);
    }
    if (state->io.direction == KVM_EXIT_IO_IN) { *data = DOORBELL; continue; }
    uint32_t at, length, sum = 0;
    memcpy(&at, data, 4);
    memcpy(&length, ram + at + 8, 4);
    uint8_t *record = malloc(length);
    memcpy(record, ram + at, length);
    for (uint32_t i = 0; i < length; i += 4) { uint32_t word; memcpy(&word, record + i, 4); sum += word; }
    free(record);
    return sum;
  }
}

static uint32_t probe(int kvm, const uint8_t *elf, const struct kvm_cpuid_entry2 *table, int entries, size_t memory, int run_size) {
  int vm = ASK(kvm, KVM_CREATE_VM, 0);
  struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
  ASK(vm, KVM_ENABLE_CAP, &split);
  uint8_t *ram = mmap(0, memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  struct kvm_userspace_memory_region region = {.memory_size = memory, .userspace_addr = (uintptr_t)ram};
  ASK(vm, KVM_SET_USER_MEMORY_REGION, &region);
  int vcpu = ASK(vm, KVM_CREATE_VCPU, 0);
  volatile struct kvm_run *state = mmap(0, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

  static struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 rows[MAX_ENTRIES]; } set, got;
  set.head.nent = entries;
  memcpy(set.rows, table, entries * sizeof *table);
  ASK(vcpu, KVM_SET_CPUID2, &set);
  got.head.nent = MAX_ENTRIES;
  ASK(vcpu, KVM_GET_CPUID2, &got);

  uint32_t entry = load(elf, ram);
  memset(ram + 0x1000, 0, 128); /* multiboot information without modules */
  struct kvm_sregs sregs;
  ASK(vcpu, KVM_GET_SREGS, &sregs);
  flat(&sregs.cs, 11, 8);
  flat(&sregs.ds, 3, 16);
  sregs.es = sregs.ss = sregs.fs = sregs.gs = sregs.ds;
  sregs.cr0 = 0x11;
  ASK(vcpu, KVM_SET_SREGS, &sregs);
  struct kvm_regs regs = {.rip = entry, .rax = 0x2badb002, .rbx = 0x1000, .rflags = 2};
  ASK(vcpu, KVM_SET_REGS, &regs);
  uint32_t sum = run(vcpu, state, ram);

  munmap((void *)state, run_size);
  close(vcpu);
  close(vm);
  munmap(ram, memory);
  return sum;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
  if (argc != 5) { fprintf(stderr, "usage: floor PROBE.elf TABLE.bin MEMORY_BYTES ROUNDS\n"); return 2; }
  size_t elf_size, table_size;
  uint8_t *elf = slurp(argv[1], &elf_size);
  struct kvm_cpuid_entry2 *table = slurp(argv[2], &table_size);
  int entries = table_size / sizeof *table, rounds = atoi(argv[4]);
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) { perror("/dev/kvm"); return 3; }
  int run_size = ASK(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  for (int i = 0; i < rounds; i++) {
    double start = now();
    probe(kvm, elf, table, entries, strtoul(argv[3], 0, 0), run_size);
    printf("%.1f\n", now() - start);
  }
  return 0;
}
