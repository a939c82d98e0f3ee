# The cpu-state probe: dumps CPUID, MSRs and control registers of every vCPU as records of corpora/probe-abi.ts.
#
# 32-bit protected mode, no paging, no IRET (some KVMs cannot emulate it in protected mode): a fault handler resets the stack
# pointer and jumps on. One vCPU works at a time, so all share one record, and all fault state.
# Registers while a record is written: EDI = its end, EBP = CPUID leaf, ESI = last leaf of the range.

.include "abi.inc"
.include "parts.inc"

.set IPI_VECTOR, 0x20
.set DONE_VECTOR, 0x21
.set ICR_FIXED, 0x4000
.set PIC_MASTER_MASK, 0x21
.set PIC_SLAVE_MASK, 0xa1
.set CR4_MCE, 1 << 6
.set CPUID_1_EDX_MCE, 1 << 7
.set CPUID_1_ECX_XSAVE, 1 << 26

.text
.code32
image:

# Multiboot 1: magic, flags (none), checksum.
.long 0x1badb002, 0, -0x1badb002

# --- Entry -----------------------------------------------------------------------------------------------------------

# PVH: EBX = hvm_start_info (Xen public/arch-x86/hvm/start_info.h). Module list: count at 12, address at 16.
pvh_start:
    cld
    xor %esi, %esi
    movl $FLAG_pvh, flags
    cmpl $0x336ec578, (%ebx)
    jne start
    cmpl $0, 12(%ebx)
    je start
    mov 16(%ebx), %ebx
    mov (%ebx), %esi                # module address
    mov 8(%ebx), %ecx               # module size
    jmp start

# Multiboot: EAX = magic, EBX = information. Module list where flags bit 3 is set: count at 20, address at 24.
.globl multiboot_start
multiboot_start:
    cld
    xor %esi, %esi
    movl $0, flags
    cmp $0x2badb002, %eax
    jne start
    testb $0x08, (%ebx)
    jz start
    cmpl $0, 20(%ebx)
    je start
    mov 24(%ebx), %ebx
    mov (%ebx), %esi
    mov 4(%ebx), %ecx
    sub %esi, %ecx

# ESI = module or 0, ECX = its size. Variables are set here and not by a zeroed .bss: a reset may come back to old memory.
start:
    mov $boot_stack, %esp
    lgdt gdt_pointer
    ljmp $CODE_SELECTOR, $1f
1:  mov $DATA_SELECTOR, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    lidt idt_pointer
    xor %eax, %eax
    mov %eax, msr_count
    mov %eax, vcpu_count
    mov %eax, vcpu
    mov %eax, sequence
    movl $COMMAND_dump, command
    call take_request
    call own_mce
    call work
    call emit
    cmpl $0, vcpu_count
    je next_command
    call start_vcpus

# --- Commands --------------------------------------------------------------------------------------------------------

next_command:
    call read_byte
    mov %eax, command
    cmp $COMMAND_dump, %eax
    je work_all
    cmp $COMMAND_xstate, %eax
    je work_all
    cmp $COMMAND_writeMsr, %eax
    je read_write
    cmp $COMMAND_resetControl, %eax
    je reset_control
    cmp $COMMAND_resetKeyboard, %eax
    je reset_keyboard
    cmp $COMMAND_tripleFault, %eax
    je triple_fault
    cmp $COMMAND_init, %eax
    je init
    cmp $COMMAND_shutdown, %eax
    jne next_command
    mov $SHUTDOWN_CODE, %al
    out %al, $PORT_debugExit
stop:
    cli
    hlt
    jmp stop

reset_control:
    mov $PORT_resetControl, %edx
    mov $0x02, %al
    out %al, %dx
    mov $0x06, %al
    out %al, %dx
    jmp stop

reset_keyboard:
    mov $0xfe, %al
    out %al, $PORT_keyboard
    jmp stop

triple_fault:
    lidt empty_idt_pointer
    ud2

init:
    movl $LAPIC_ENABLE, LAPIC_SPURIOUS
    mov LAPIC_ID, %eax              # not from CPUID: a monitor may show another there
    mov %eax, LAPIC_ICR_HIGH
    movl $ICR_INIT, LAPIC_ICR_LOW
    jmp stop

read_write:
    mov $write_vcpu, %edi
    mov $16, %ebp
1:  call read_byte
    stosb
    dec %ebp
    jnz 1b

# Runs `command` on every vCPU in turn and emits each one's record.
work_all:
    incl sequence
    movl $0, vcpu
    call work
    call emit
1:  mov vcpu, %eax
    cmp vcpu_count, %eax
    jae next_command
    mov apic_ids, %ecx
    mov (%ecx,%eax,4), %ecx
    incl vcpu
    mov $ICR_FIXED + IPI_VECTOR, %eax
    call send_and_wait
    call emit
    jmp 1b

serial_input

# --- Request ---------------------------------------------------------------------------------------------------------

# ESI = module or 0, ECX = its size. Takes it where it is a request that holds all it says.
take_request:
    cmp $REQUEST_HEADER_BYTES, %ecx
    jb 1f
    test %esi, %esi
    jz 1f
    cmpl $REQUEST_MAGIC, (%esi)
    jne 1f
    cmpl $ABI_VERSION, 4(%esi)
    jne 1f
    mov 8(%esi), %eax
    cmp $MSR_CAP, %eax
    ja 1f
    mov 12(%esi), %edx
    cmp $VCPU_CAP, %edx
    ja 1f
    lea (%eax,%edx), %ebx
    lea REQUEST_HEADER_BYTES(,%ebx,4), %ebx
    cmp %ecx, %ebx
    ja 1f
    mov %eax, msr_count
    mov %edx, vcpu_count
    add $REQUEST_HEADER_BYTES, %esi
    mov %esi, msr_list
    lea (%esi,%eax,4), %esi
    mov %esi, apic_ids
1:  ret

# --- Further vCPUs ---------------------------------------------------------------------------------------------------

# Starts each by INIT and SIPI; each dumps once and halts.
start_vcpus:
    movl $LAPIC_ENABLE, LAPIC_SPURIOUS
    mov LAPIC_ID, %eax
    mov %eax, boot_id
    mov $0xff, %al                  # a firmware's timer must not come in while we sleep
    out %al, $PIC_MASTER_MASK
    out %al, $PIC_SLAVE_MASK
    mov $trampoline, %esi
    mov $STARTUP_PAGE << 12, %edi
    mov $trampoline_end - trampoline, %ecx
    rep movsb
1:  mov vcpu, %eax
    mov apic_ids, %ecx
    mov (%ecx,%eax,4), %ecx
    incl vcpu
    shl $24, %ecx
    mov %ecx, LAPIC_ICR_HIGH
    movl $ICR_INIT, LAPIC_ICR_LOW
    shr $24, %ecx
    mov $ICR_STARTUP + STARTUP_PAGE, %eax
    call send_and_wait
    call emit
    mov vcpu, %eax
    cmp vcpu_count, %eax
    jb 1b
    ret

# Sends the IPI of ICR low = EAX to APIC id ECX and sleeps until that vCPU says by another that its record stands: a host may have one CPU
# for all vCPUs, and a spin would keep it. Interrupts are off elsewhere, so that one that comes early waits.
send_and_wait:
    mov %esp, waiting_stack
    shl $24, %ecx
    mov %ecx, LAPIC_ICR_HIGH
    mov %eax, LAPIC_ICR_LOW
1:  sti
    hlt
    jmp 1b

done_handler:
    movl $0, LAPIC_EOI
    mov waiting_stack, %esp
    ret

startup_code

vcpu_start:
    mov $DATA_SELECTOR, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    lidt idt_pointer
    movl $LAPIC_ENABLE, LAPIC_SPURIOUS  # software-enabled, else it would drop the IPI
    mov $vcpu_stack, %esp
    call own_mce
vcpu_work:
    mov $vcpu_stack, %esp
    cld
    call work
    mov boot_id, %eax
    mov %eax, LAPIC_ICR_HIGH
    movl $ICR_FIXED + DONE_VECTOR, LAPIC_ICR_LOW
    sti
1:  hlt
    jmp 1b

ipi_handler:
    movl $0, LAPIC_EOI
    jmp vcpu_work

# --- Faults ----------------------------------------------------------------------------------------------------------

# Go on at `fault_resume` with EAX = the vector, EDX = where the fault was.
ud_handler:
    mov $FAULT_ud, %eax
    jmp resume
gp_handler:
    pop %eax                        # the error code
    mov $FAULT_gp, %eax
resume:
    pop %edx
    mov fault_stack, %esp
    jmp *fault_resume

# --- The dump --------------------------------------------------------------------------------------------------------

# Does `command` on this vCPU and writes its record.
work:
    mov %esp, fault_stack
    mov $record, %edi
    movl $RECORD_MAGIC, (%edi)
    movl $ABI_VERSION, 4(%edi)
    mov vcpu, %eax
    mov %eax, 12(%edi)
    mov sequence, %eax
    mov %eax, 16(%edi)
    movl $0, written
    cmpl $COMMAND_xstate, command
    je set_xstate
    cmpl $COMMAND_writeMsr, command
    je write_msr
dump:
    mov flags, %eax
    mov %eax, 20(%edi)
    add $RECORD_HEADER_BYTES, %edi

    movl $SECTION_registers, (%edi)
    mov %cr0, %eax
    mov %eax, 8(%edi)
    mov %cr4, %eax
    mov %eax, 12(%edi)
    mov $1, %eax
    cpuid
    shr $24, %ebx
    mov %ebx, 16(%edi)
    add $SECTION_HEADER_BYTES + REGISTERS_BYTES, %edi
    mov $register_list, %esi
    mov $(register_list_end - register_list) / 4, %ebp
    call read_msrs
    mov $record + RECORD_HEADER_BYTES, %ebx
    call end_section

    movl $SECTION_cpuid, (%edi)
    push %edi
    add $SECTION_HEADER_BYTES, %edi
    call sweep_cpuid
    pop %ebx
    call end_section

    movl $SECTION_msrs, (%edi)
    push %edi
    add $SECTION_HEADER_BYTES, %edi
    mov msr_list, %esi
    mov msr_count, %ebp
    call read_msrs
    pop %ebx
    call end_section

    testb $FLAG_xstate, flags
    jz 1f
    call read_xcr0
1:  cmpl $0, written
    je finish
    movl $SECTION_write, (%edi)
    movl $MSR_ROW_BYTES, 4(%edi)
    add $SECTION_HEADER_BYTES, %edi
    mov $write_row, %esi
    mov $MSR_ROW_BYTES / 4, %ecx
    rep movsl

# Length, then the two sums. Unrolled, as are the MSRs and the leaves below: an emulating KVM takes 0.5 us for each instruction.
finish:
    lea CHECKSUM_BYTES(%edi), %eax
    sub $record, %eax
    mov %eax, record + 8
    mov $record, %esi
    call sum_words
    mov %ebp, (%edi)
    mov %edx, 4(%edi)
    ret

checksum

# EBX = section: its payload ends at EDI.
end_section:
    mov %edi, %eax
    sub %ebx, %eax
    sub $SECTION_HEADER_BYTES, %eax
    mov %eax, 4(%ebx)
    ret

# Sends the record: by doorbell where the monitor has one, else byte by byte.
emit:
    mov $record, %esi
    in $PORT_probe, %al
    cmp $PROBE_DOORBELL, %al
    jne 1f
    mov %esi, %eax
    out %eax, $PORT_probe
    ret
1:  mov record + 8, %ecx
    mov $PORT_probe, %edx
    rep outsb
    ret

# --- MSRs and XCR0 ---------------------------------------------------------------------------------------------------

# ESI = list of EBP indices: appends their number, the indices, the values, and the faults.
.set MSRS_AT_ONCE_SHIFT, 3
.set MSRS_AT_ONCE, 1 << MSRS_AT_ONCE_SHIFT
.macro read_one number
    mov 4 * \number(%esi), %ecx
    rdmsr
    mov %eax, 8 * \number(%edi)
    mov %edx, 8 * \number + 4(%edi)
.endm
read_msrs:
    mov %esp, fault_stack
    movl $rdmsr_fault, fault_resume
    mov %ebp, (%edi)
    add $4, %edi
    mov %ebp, %ecx
    mov %edi, %eax
    rep movsl
    mov %eax, %esi
    lea (%edi,%ebp,8), %ebx         # where the next fault is put
1:  test $MSRS_AT_ONCE - 1, %ebp
    jz 2f
    read_one 0
    add $4, %esi
    add $8, %edi
    dec %ebp
    jmp 1b
2:  shr $MSRS_AT_ONCE_SHIFT, %ebp
    jz 4f
3:
.set number, 0
.rept MSRS_AT_ONCE
    read_one number
    .set number, number + 1
.endr
    add $4 * MSRS_AT_ONCE, %esi
    add $8 * MSRS_AT_ONCE, %edi
    dec %ebp
    jnz 3b
4:  mov %ebx, %edi
    ret
.set RDMSR_BYTES, 2
rdmsr_fault:
    mov %ecx, (%ebx)
    mov %eax, 4(%ebx)
    add $FAULT_BYTES, %ebx
    lea RDMSR_BYTES(%edx), %ecx
    xor %eax, %eax
    xor %edx, %edx
    jmp *%ecx

# Fills status EAX and a zero value into the row at EDI.
fault_row:
    mov %eax, 4(%edi)
    movl $0, 8(%edi)
    movl $0, 12(%edi)
    ret

write_msr:
    mov write_vcpu, %eax
    cmp $ALL_VCPUS, %eax
    je 1f
    cmp vcpu, %eax
    jne dump
1:  movl $1, written
    push %edi
    mov %esp, fault_stack
    movl $wrmsr_done, fault_resume
    mov write_index, %ecx
    mov write_value, %eax
    mov write_value + 4, %edx
    mov %ecx, write_row
    mov %eax, write_row + 8
    mov %edx, write_row + 12
    wrmsr
    xor %eax, %eax
wrmsr_done:
    mov %eax, write_row + 4
    pop %edi
    test %eax, %eax
    jz dump
    movl $0, write_row + 8
    movl $0, write_row + 12
    jmp dump

# CR4.MCE, where the CPU has it: some hosts show a guest their own bit, so that one that the guest never set tells nothing. Once after each
# reset: a bit that is lost later is seen.
own_mce:
    mov $1, %eax
    cpuid
    test $CPUID_1_EDX_MCE, %edx
    jz 1f
    mov %cr4, %eax
    or $CR4_MCE, %eax
    mov %eax, %cr4
1:  ret

# CR4.OSXSAVE and XCR0 = all of CPUID 0xD.0 EDX:EAX. Where XSETBV faults, the row tells and XGETBV is not tried.
set_xstate:
    mov $1, %eax
    cpuid
    test $CPUID_1_ECX_XSAVE, %ecx
    jz dump
    orl $FLAG_xstate, flags
    movl $xsetbv_done, fault_resume
    mov %cr4, %eax
    or $CR4_OSXSAVE, %eax
    mov %eax, %cr4
    mov $0xd, %eax
    xor %ecx, %ecx
    cpuid
    xor %ecx, %ecx
    xsetbv
    xor %eax, %eax
xsetbv_done:
    mov %eax, xsetbv_status
    jmp dump

read_xcr0:
    movl $SECTION_xcr0, (%edi)
    movl $MSR_ROW_BYTES, 4(%edi)
    add $SECTION_HEADER_BYTES, %edi
    movl $0, (%edi)
    mov xsetbv_status, %eax
    test %eax, %eax
    jnz xgetbv_fault
    mov %esp, fault_stack
    movl $xgetbv_fault, fault_resume
    xor %ecx, %ecx
    xgetbv
    movl $0, 4(%edi)
    mov %eax, 8(%edi)
    mov %edx, 12(%edi)
    add $MSR_ROW_BYTES, %edi
    ret
xgetbv_fault:
    call fault_row
    add $MSR_ROW_BYTES, %edi
    ret

# --- CPUID -----------------------------------------------------------------------------------------------------------

# Appends the row of leaf EBP, subleaf ECX; the answer stays in EAX to EDX.
.macro ask_row
    mov %ebp, %eax
    mov %eax, (%edi)
    mov %ecx, 4(%edi)
    cpuid
    mov %eax, 8(%edi)
    mov %ebx, 12(%edi)
    mov %ecx, 16(%edi)
    mov %edx, 20(%edi)
    add $CPUID_ROW_BYTES, %edi
.endm

# Asks a range: all leaves from its base to its maximum, and two beyond. `name`: of the table of its leaves, where some have subleaves.
.macro sweep_range base, name
    mov $\base, %ebp
    call ask_base
    jmp 2f
1:  xor %ecx, %ecx
    ask_row
2:  inc %ebp
    cmp %esi, %ebp
.ifb \name
    jbe 1b
.else
    ja 3f
    jmp *\name\()_leaves(,%ebp,4)
.set \name\()_plain, 1b
.irp way, eax, eax_bits, ebx_bits, edx_bits, caches, levels, xsave, sgx, pconfig
\name\()_\way:
    push $2b
    push $subleaves_\way
    jmp ask_subleaves
.endr
3:
.endif
    call ask_first
    inc %ebp
    call ask_first
.endm

sweep_cpuid:
    sweep_range 0, basic
    sweep_range 0x40000000
    sweep_range 0x40000100          # KVM's leaves where Hyper-V's stand at 0x40000000
    sweep_range 0x80000000, extended
    sweep_range 0xc0000000
    mov $0x8fffffff, %ebp
    jmp ask_first

# ESI = the last leaf of the range whose base is EBP: the base where its maximum lies below it or is absurd.
ask_base:
    call ask_first
    sub %ebp, %eax
    jb 1f
    cmp $CPUID_RANGE_CAP, %eax
    jb 2f
    orb $FLAG_cpuidCapped, record + 20
1:  xor %eax, %eax
2:  lea (%eax,%ebp), %esi
    ret

# Asks leaf EBP and goes on where the stack says: for its subleaves, if there is room for more of them.
ask_subleaves:
    cmp $record_last_subleaves, %edi
    jb ask_first
    orb $FLAG_cpuidCapped, record + 20
    add $4, %esp
ask_first:
    xor %ecx, %ecx
    jmp ask
# The subleaf after the one asked last.
ask_next:
    mov -20(%edi), %ecx
    inc %ecx
ask:
    ask_row
    ret

# The ways to the subleaves of a leaf: all, and one beyond the last. The answer to subleaf 0 is in the registers.

# Subleaf 0 has a bit for each subleaf.
subleaves_edx_bits:
    mov %edx, %ebx
subleaves_ebx_bits:
    mov %ebx, %eax
subleaves_eax_bits:
    bsr %eax, %eax
    jnz subleaves_eax
    xor %eax, %eax
# EAX = the last subleaf.
subleaves_eax:
    cmp $CPUID_RANGE_CAP, %eax
    jb 1f
    orb $FLAG_cpuidCapped, record + 20
    xor %eax, %eax
1:  push %eax
2:  call ask_next
    mov -20(%edi), %eax
    cmp (%esp), %eax
    jbe 2b
    pop %eax
    ret

# 0xD: all, because a table may have rows for components that subleaves 0 and 1 do not offer (QEMU's has an empty last one).
subleaves_xsave:
    mov $63, %eax
    jmp subleaves_eax

# The last subleaf has no type in EAX.
subleaves_sgx:
    call ask_next
    call ask_next
    push $0xf
    jmp until_eax
subleaves_pconfig:
    push $0xfff
    jmp until_eax
subleaves_caches:
    push $0x1f
until_eax:
    test (%esp), %eax
    jz 1f
    cmpl $CPUID_RANGE_CAP - 2, -20(%edi)
    jae 1f
    call ask_next
    jmp until_eax
1:  pop %eax
    jmp ask_next

# The last subleaf has no level type in ECX[15:8].
subleaves_levels:
    test %ch, %ch
    jz ask_next
    cmpl $CPUID_RANGE_CAP - 2, -20(%edi)
    jae ask_next
    call ask_next
    jmp subleaves_levels

# Which way each leaf of a range goes (SDM vol. 2A CPUID; APM vol. 3 appendix E).
.macro leaves range, ways:vararg
.irp way, \ways
    .long \range\()_\way
.endr
.endm
.balign 4
basic_leaves:
    leaves basic, plain, plain, plain, plain, caches, plain, plain, eax             # 0x00
    leaves basic, plain, plain, plain, levels, plain, xsave, plain, edx_bits        # 0x08
    leaves basic, ebx_bits, plain, sgx, plain, eax, plain, plain, eax               # 0x10
    leaves basic, eax, plain, plain, pconfig, plain, eax, eax, levels               # 0x18
    leaves basic, eax, plain, plain, eax_bits, eax, plain, plain, plain             # 0x20
.rept CPUID_RANGE_CAP - 0x28
    .long basic_plain
.endr
extended_leaves:
.rept 0x18
    .long extended_plain
.endr
    leaves extended, plain, plain, plain, plain, plain, caches, plain, plain        # 0x80000018
    leaves extended, ebx_bits, plain, plain, plain, plain, plain, levels, plain     # 0x80000020
.rept CPUID_RANGE_CAP - 0x28
    .long extended_plain
.endr

# --- Tables ----------------------------------------------------------------------------------------------------------

.balign 4
register_list:
    register_msrs
register_list_end:

flat_segments

.balign 8
idt:
    .fill FAULT_ud, 8, 0
    gate ud_handler
    .fill FAULT_gp - FAULT_ud - 1, 8, 0
    gate gp_handler
    .fill IPI_VECTOR - FAULT_gp - 1, 8, 0
    gate ipi_handler
    gate done_handler
idt_end:
idt_pointer:
    .word idt_end - idt - 1
    .long idt
empty_idt_pointer:
    .word 0
    .long 0

pvh_note

.bss
.balign 16
flags:          .skip 4
command:        .skip 4
sequence:       .skip 4
vcpu:           .skip 4
vcpu_count:     .skip 4
apic_ids:       .skip 4
msr_list:       .skip 4
msr_count:      .skip 4
fault_stack:    .skip 4
fault_resume:   .skip 4
waiting_stack:  .skip 4
boot_id:        .skip 4
xsetbv_status:  .skip 4
written:        .skip 4
write_row:      .skip MSR_ROW_BYTES
write_vcpu:     .skip 4
write_index:    .skip 4
write_value:    .skip 8
.balign 16
record:         .skip RECORD_CAP
# Leaves room for the subleaves of one leaf, and for one row of each leaf of all ranges.
.set ROWS_BEYOND, CPUID_RANGE_CAP + 2 + 5 * (CPUID_RANGE_CAP + 2) + 1
.set record_last_subleaves, record + RECORD_HEADER_BYTES + (CPUID_ROW_CAP - ROWS_BEYOND) * CPUID_ROW_BYTES
.balign 16
                .skip 1024
boot_stack:
                .skip 1024
vcpu_stack:
