# The witness probe: every vCPU reads its CPU and writes its memory over and over, and notes what changes (corpora/witness-abi.ts).
#
# 32-bit protected mode, no paging, no IRET, no interrupts. All vCPUs work at the same time, each on an area of its own that its stack lies
# in: EBX = ESP with the low bits off. Registers of the loop: EBP = lap, ESI = page in the slice, EDI = pages of this lap. They are
# never put into memory while the loop runs: a memory that is older than they shows.

.include "abi.inc"
.include "parts.inc"

# The area of a vCPU.
.set AREA_BYTES, 16384
.set NUMBER, 0
.set SLICE, 4                       # address of its first page
.set PATTERN, 8                     # seed and number in the pattern
.set KNOWN, 12                      # pages that were written a lap ago
.set LEFT, 16                       # visits left in this pass
.set CPUID_AT, 20                   # offset in the area of the row that is next
.set MSR_AT, 24
.set REPORTED, 28                   # the last report that was asked for and is there
.set RESUME, 32                     # where a fault goes on, and with which stack
.set RESUME_STACK, 36
.set TSC, 40                        # of the last visit
.set PASSES, 48
.set VISITS, 56
.set GAP, 64
.set GAP_PASS, 72
.set CHANGES, 80
.set LOST, 84
.set XCR0, 88
.set GAP_FORGOTTEN, 96
.set NOTE, 100                      # a change: all of its row but the pass
.set NOTE_KIND, NOTE
.set NOTE_WHERE, NOTE + 4
.set NOTE_PART, NOTE + 8
.set NOTE_FIRST, NOTE + 16
.set NOTE_SECOND, NOTE + 24
.set NOTE_WORDS, 8
.set POLLED, NOTE + 4 * NOTE_WORDS  # the TSC, its low half, when COM1 was last asked
.set POLL_TICKS, 1 << 20            # a third of a millisecond or so: an access to a port costs a guest more than a page
.set CPUIDS, 256                    # leaf, subleaf, EAX, EBX, ECX, EDX as last read
.set MSRS, CPUIDS + WITNESS_CPUID_CAP * CPUID_ROW_BYTES
.set CHANGE_ROWS, MSRS + WITNESS_MSR_CAP * MSR_ROW_BYTES
.set RECORD, CHANGE_ROWS + CHANGE_CAP * CHANGE_BYTES

# The request.
.set REQUEST_CPUIDS, 8
.set REQUEST_MSRS, 12
.set REQUEST_VCPUS, 16
.set REQUEST_FLAGS, 20
.set REQUEST_SEED, 24
.set REQUEST_BASE, 28
.set REQUEST_FIRST, 32
.set REQUEST_GROWTH, 36
.set REQUEST_LAST, 40
.set REQUEST_PACE, 44

.text
.code32
image:

# Multiboot 1: magic, flags (none), checksum.
.long 0x1badb002, 0, -0x1badb002

# --- Entry -----------------------------------------------------------------------------------------------------------

# PVH: EBX = hvm_start_info. Module list: count at 12, address at 16.
pvh_start:
    cld
    movl $FLAG_pvh, flags
    mov $default_request, %esi
    cmpl $0x336ec578, (%ebx)
    jne start
    cmpl $0, 12(%ebx)
    je start
    mov 16(%ebx), %ebx
    mov (%ebx), %eax                # module address
    mov 8(%ebx), %ecx               # module size
    jmp take_request

# Multiboot: EAX = magic, EBX = information. Module list where flags bit 3 is set: count at 20, address at 24.
.globl multiboot_start
multiboot_start:
    cld
    movl $0, flags
    mov $default_request, %esi
    cmp $0x2badb002, %eax
    jne start
    testb $0x08, (%ebx)
    jz start
    cmpl $0, 20(%ebx)
    je start
    mov 24(%ebx), %ebx
    mov (%ebx), %eax
    mov 4(%ebx), %ecx
    sub %eax, %ecx

# EAX = module, ECX = its size: a request is taken as it is, anything else is none.
take_request:
    cmp $WITNESS_REQUEST_HEADER_BYTES, %ecx
    jb start
    cmpl $WITNESS_REQUEST_MAGIC, (%eax)
    jne start
    cmpl $1, 4(%eax)
    jne start
    mov %eax, %esi

start:
    mov %esi, request
    mov REQUEST_PACE(%esi), %eax
    mov %eax, pace
    mov REQUEST_SEED(%esi), %eax
    test %eax, %eax
    jnz 1f
    rdtsc
1:  mov %eax, seed
    movl $0, starting
    movl $0, gap_forgets
    movl $0, beats
    movl $1, report_wanted
    lgdt gdt_pointer
    ljmp $CODE_SELECTOR, $vcpu_start

startup_code

# Every vCPU, one after the other: `starting` is its number.
vcpu_start:
    mov $DATA_SELECTOR, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    lidt idt_pointer
    cld
    mov starting, %edx
    imul $AREA_BYTES, %edx, %ebx
    add $areas, %ebx
    lea AREA_BYTES(%ebx), %esp
    mov %ebx, %edi
    xor %eax, %eax
    mov $CPUIDS / 4, %ecx
    rep stosl
    mov %edx, NUMBER(%ebx)
    imul $PATTERN_VCPU, %edx, %eax
    add seed, %eax
    mov %eax, PATTERN(%ebx)
    mov request, %esi
    mov REQUEST_LAST(%esi), %eax
    shl $12, %eax
    imul %edx, %eax
    add REQUEST_BASE(%esi), %eax
    mov %eax, SLICE(%ebx)
    call set_xcr0
    call read_all
    cmpl $0, NUMBER(%ebx)
    jne 1f
    call start_vcpus
1:  movl $0, starting
    call forget_time
    xor %ebp, %ebp
    xor %esi, %esi
    mov request, %eax
    mov REQUEST_FIRST(%eax), %edi

# --- The loop --------------------------------------------------------------------------------------------------------

pass:
    movl $VISITS_PER_PASS, LEFT(%ebx)
1:  call visit
    call look_at_time
    mov pace, %ecx
    jecxz 3f
2:  pause
    dec %ecx
    jnz 2b
3:  decl LEFT(%ebx)
    jnz 1b
    call check_cpuid
    call check_msr
    call check_xcr0
    addl $1, PASSES(%ebx)
    adcl $0, PASSES + 4(%ebx)
    mov gap_forgets, %eax
    cmp GAP_FORGOTTEN(%ebx), %eax
    je 4f
    mov %eax, GAP_FORGOTTEN(%ebx)
    xor %eax, %eax
    mov %eax, GAP(%ebx)
    mov %eax, GAP + 4(%ebx)
    mov %eax, GAP_PASS(%ebx)
    mov %eax, GAP_PASS + 4(%ebx)
4:  mov report_wanted, %eax
    cmp REPORTED(%ebx), %eax
    je 5f
    call report
    call forget_time
5:  cmpl $0, NUMBER(%ebx)
    jne pass
    rdtsc
    mov %eax, %edx
    sub POLLED(%ebx), %edx
    cmp $POLL_TICKS, %edx
    jb pass
    mov %eax, POLLED(%ebx)
    mov request, %eax
    testb $WITNESS_FLAG_BEAT, REQUEST_FLAGS(%eax)
    jz 6f
    mov $PORT_com1, %edx
    mov beats, %eax
    out %al, %dx
    incl beats
6:  mov $PORT_com1LineStatus, %edx
    in %dx, %al
    test $1, %al
    jz pass
    call command
    call forget_time
    jmp pass

# Verifies and writes one page, and goes to the next. EAX = the page, ECX = the word to write, EDX = the word to find.
visit:
    mov %esi, %eax
    shl $12, %eax
    add SLICE(%ebx), %eax
    imul $PATTERN_PAGE, %esi, %ecx
    imul $PATTERN_LAP, %ebp, %edx
    add %edx, %ecx
    add PATTERN(%ebx), %ecx
    lea -PATTERN_LAP(%ecx), %edx
    cmp KNOWN(%ebx), %esi
    jae 2f
.set place, 0
.rept PATTERN_WORDS
    cmp %edx, place(%eax)
    je 1f
    push $place
    call lost
1:  mov %ecx, place(%eax)
    add $PATTERN_WORD, %ecx
    add $PATTERN_WORD, %edx
    .set place, place + PATTERN_STRIDE
.endr
    jmp 3f
2:
.set place, 0
.rept PATTERN_WORDS
    mov %ecx, place(%eax)
    add $PATTERN_WORD, %ecx
    .set place, place + PATTERN_STRIDE
.endr
3:  addl $1, VISITS(%ebx)
    adcl $0, VISITS + 4(%ebx)
    inc %esi
    cmp %edi, %esi
    jb 4f
    xor %esi, %esi
    inc %ebp
    mov %edi, KNOWN(%ebx)
    mov request, %eax
    add REQUEST_GROWTH(%eax), %edi
    cmp REQUEST_LAST(%eax), %edi
    jbe 4f
    mov REQUEST_LAST(%eax), %edi
4:  ret

# The argument is the place of a word in the page EAX that is not EDX. Keeps EAX, ECX, EDX.
lost:
    push %eax
    push %ecx
    push %edx
    incl LOST(%ebx)
    mov 16(%esp), %ecx
    add %eax, %ecx
    movl $CHANGE_page, NOTE_KIND(%ebx)
    mov %ecx, NOTE_WHERE(%ebx)
    mov %esi, NOTE_PART(%ebx)
    mov (%ecx), %eax
    call note_words
    pop %edx
    pop %ecx
    pop %eax
    ret $4

# Notes a change of a word from EDX to EAX.
note_words:
    mov %edx, NOTE_FIRST(%ebx)
    movl $0, NOTE_FIRST + 4(%ebx)
    mov %eax, NOTE_SECOND(%ebx)
    movl $0, NOTE_SECOND + 4(%ebx)

# Appends NOTE and the number of the pass to the changes, where there is room. Clobbers EAX, ECX, EDX.
note:
    mov CHANGES(%ebx), %eax
    incl CHANGES(%ebx)
    cmp $CHANGE_CAP, %eax
    jae 2f
    imul $CHANGE_BYTES, %eax, %eax
    lea CHANGE_ROWS(%ebx,%eax), %edx
    xor %ecx, %ecx
1:  mov NOTE(%ebx,%ecx,4), %eax
    mov %eax, (%edx,%ecx,4)
    inc %ecx
    cmp $NOTE_WORDS, %ecx
    jb 1b
    mov PASSES(%ebx), %eax
    mov %eax, 4 * NOTE_WORDS(%edx)
    mov PASSES + 4(%ebx), %eax
    mov %eax, 4 * NOTE_WORDS + 4(%edx)
2:  ret

# --- Time ------------------------------------------------------------------------------------------------------------

# Measures the time since the last visit.
look_at_time:
    rdtsc
    push %edx
    push %eax
    sub TSC(%ebx), %eax
    sbb TSC + 4(%ebx), %edx
    jb 3f
    cmp GAP + 4(%ebx), %edx
    ja 1f
    jb 2f
    cmp GAP(%ebx), %eax
    jbe 2f
1:  mov %eax, GAP(%ebx)
    mov %edx, GAP + 4(%ebx)
    mov PASSES(%ebx), %eax
    mov %eax, GAP_PASS(%ebx)
    mov PASSES + 4(%ebx), %eax
    mov %eax, GAP_PASS + 4(%ebx)
2:  pop TSC(%ebx)
    pop TSC + 4(%ebx)
    ret
3:  movl $CHANGE_tsc, NOTE_KIND(%ebx)
    movl $0, NOTE_WHERE(%ebx)
    movl $0, NOTE_PART(%ebx)
    mov TSC(%ebx), %eax
    mov %eax, NOTE_FIRST(%ebx)
    mov TSC + 4(%ebx), %eax
    mov %eax, NOTE_FIRST + 4(%ebx)
    mov (%esp), %eax
    mov %eax, NOTE_SECOND(%ebx)
    mov 4(%esp), %eax
    mov %eax, NOTE_SECOND + 4(%ebx)
    call note
    jmp 2b

# What comes now is no gap.
forget_time:
    rdtsc
    mov %eax, TSC(%ebx)
    mov %edx, TSC + 4(%ebx)
    ret

# --- CPUID, MSRs, XCR0 -----------------------------------------------------------------------------------------------

# Reads everything once. ESI = request.
read_all:
    xor %ebp, %ebp                  # no loop yet: EBP, ESI, EDI are free
    lea WITNESS_REQUEST_HEADER_BYTES(%esi), %edi
    mov $CPUIDS, %eax
    mov %eax, CPUID_AT(%ebx)
1:  mov CPUID_AT(%ebx), %edx
    mov (%edi), %eax
    mov %eax, (%ebx,%edx)
    mov 4(%edi), %eax
    mov %eax, 4(%ebx,%edx)
    add $8, %edi
    call read_cpuid
    pop 8(%ecx)
    pop 12(%ecx)
    pop 16(%ecx)
    pop 20(%ecx)
    addl $CPUID_ROW_BYTES, CPUID_AT(%ebx)
    inc %ebp
    cmp REQUEST_CPUIDS(%esi), %ebp
    jb 1b
    movl $CPUIDS, CPUID_AT(%ebx)
    xor %ebp, %ebp
    movl $MSRS, MSR_AT(%ebx)
2:  mov MSR_AT(%ebx), %edx
    mov (%edi), %eax
    mov %eax, (%ebx,%edx)
    add $4, %edi
    call read_msr
    mov %ecx, 4(%edx)
    pop 8(%edx)
    pop 12(%edx)
    addl $MSR_ROW_BYTES, MSR_AT(%ebx)
    inc %ebp
    cmp REQUEST_MSRS(%esi), %ebp
    jb 2b
    movl $MSRS, MSR_AT(%ebx)
    ret

# Leaves EAX, EBX, ECX, EDX of the row that is next on the stack, EAX on top; ECX = the row.
read_cpuid:
    mov CPUID_AT(%ebx), %edx
    mov 4(%ebx,%edx), %ecx
    mov (%ebx,%edx), %eax
    cpuid
    xchg %edx, (%esp)
    push %ecx
    push %ebx
    push %eax
    mov %esp, %ebx
    and $-AREA_BYTES, %ebx
    mov CPUID_AT(%ebx), %ecx
    add %ebx, %ecx
    jmp *%edx

check_cpuid:
    call read_cpuid
.set number, 0
.rept 4
    pop %eax
    cmp 8 + 4 * number(%ecx), %eax
    je 1f
    mov $number, %edx
    call cpuid_changed
1:
    .set number, number + 1
.endr
    mov CPUID_AT(%ebx), %eax
    add $CPUID_ROW_BYTES, %eax
    mov request, %ecx
    imul $CPUID_ROW_BYTES, REQUEST_CPUIDS(%ecx), %edx
    add $CPUIDS, %edx
    cmp %edx, %eax
    jb 1f
    mov $CPUIDS, %eax
1:  mov %eax, CPUID_AT(%ebx)
    ret

# Register EDX of row ECX is EAX now. Keeps ECX.
cpuid_changed:
    push %ecx
    movl $CHANGE_cpuid, NOTE_KIND(%ebx)
    push %eax
    mov (%ecx), %eax
    mov %eax, NOTE_WHERE(%ebx)
    mov %edx, %eax
    shl $30, %eax
    or 4(%ecx), %eax
    mov %eax, NOTE_PART(%ebx)
    pop %eax
    lea 8(%ecx,%edx,4), %ecx
    mov (%ecx), %edx
    mov %eax, (%ecx)
    call note_words
    pop %ecx
    ret

# Leaves low and high half of the MSR that is next on the stack, low on top; ECX = the fault, EDX = the row.
read_msr:
    mov MSR_AT(%ebx), %edx
    mov (%ebx,%edx), %ecx
    movl $1f, RESUME(%ebx)
    mov %esp, RESUME_STACK(%ebx)
    rdmsr
    xor %ecx, %ecx
1:  xchg %edx, (%esp)
    push %eax
    push %edx
    mov MSR_AT(%ebx), %edx
    add %ebx, %edx
    ret

check_msr:
    call read_msr
    pop %eax
    cmp 4(%edx), %ecx
    jne 1f
    cmp 8(%edx), %eax
    jne 1f
    pop %ecx
    cmp 12(%edx), %ecx
    je 2f
    push %ecx
    xor %ecx, %ecx
    mov 4(%edx), %cl
# EAX and the top of the stack are the value now, ECX the fault.
1:  movl $CHANGE_msr, NOTE_KIND(%ebx)
    mov %eax, NOTE_SECOND(%ebx)
    pop NOTE_SECOND + 4(%ebx)
    mov %ecx, %eax
    xchg %ecx, 4(%edx)
    shl $8, %eax
    or %ecx, %eax
    mov %eax, NOTE_PART(%ebx)
    mov (%edx), %eax
    mov %eax, NOTE_WHERE(%ebx)
    mov NOTE_SECOND(%ebx), %eax
    xchg %eax, 8(%edx)
    mov %eax, NOTE_FIRST(%ebx)
    mov NOTE_SECOND + 4(%ebx), %eax
    xchg %eax, 12(%edx)
    mov %eax, NOTE_FIRST + 4(%ebx)
    call note
2:  mov MSR_AT(%ebx), %eax
    add $MSR_ROW_BYTES, %eax
    mov request, %ecx
    mov REQUEST_MSRS(%ecx), %edx
    shl $4, %edx
    add $MSRS, %edx
    cmp %edx, %eax
    jb 3f
    mov $MSRS, %eax
3:  mov %eax, MSR_AT(%ebx)
    ret

# CR4.OSXSAVE and XCR0 = all of CPUID 0xD.0 EDX:EAX, where XCR0 is to be witnessed. ESI = request.
set_xcr0:
    testb $WITNESS_FLAG_XCR0, REQUEST_FLAGS(%esi)
    jz 1f
    mov %cr4, %eax
    or $CR4_OSXSAVE, %eax
    mov %eax, %cr4
    mov $0xd, %eax
    xor %ecx, %ecx
    push %ebx
    cpuid
    pop %ebx
    xor %ecx, %ecx
    xsetbv
    xgetbv
    mov %eax, XCR0(%ebx)
    mov %edx, XCR0 + 4(%ebx)
1:  ret

check_xcr0:
    mov request, %eax
    testb $WITNESS_FLAG_XCR0, REQUEST_FLAGS(%eax)
    jz 1f
    xor %ecx, %ecx
    xgetbv
    cmp XCR0(%ebx), %eax
    jne 2f
    cmp XCR0 + 4(%ebx), %edx
    jne 2f
1:  ret
2:  movl $CHANGE_xcr0, NOTE_KIND(%ebx)
    movl $0, NOTE_WHERE(%ebx)
    movl $0, NOTE_PART(%ebx)
    mov %eax, NOTE_SECOND(%ebx)
    mov %edx, NOTE_SECOND + 4(%ebx)
    xchg %eax, XCR0(%ebx)
    xchg %edx, XCR0 + 4(%ebx)
    mov %eax, NOTE_FIRST(%ebx)
    mov %edx, NOTE_FIRST + 4(%ebx)
    jmp note

# --- Faults ----------------------------------------------------------------------------------------------------------

ud_handler:
    mov $FAULT_ud, %ecx
    jmp 1f
gp_handler:
    mov $FAULT_gp, %ecx
1:  mov %esp, %ebx
    and $-AREA_BYTES, %ebx
    mov RESUME_STACK(%ebx), %esp
    xor %eax, %eax
    xor %edx, %edx
    jmp *RESUME(%ebx)

# --- Further vCPUs, commands, reports --------------------------------------------------------------------------------

# Starts each by INIT and SIPI, and waits until it has read everything once.
start_vcpus:
    movl $LAPIC_ENABLE, LAPIC_SPURIOUS
    mov $trampoline, %esi
    mov $STARTUP_PAGE << 12, %edi
    mov $trampoline_end - trampoline, %ecx
    rep movsb
    mov request, %esi
    mov REQUEST_CPUIDS(%esi), %edi
    lea WITNESS_REQUEST_HEADER_BYTES(%esi,%edi,8), %edi
    mov REQUEST_MSRS(%esi), %eax
    lea (%edi,%eax,4), %edi         # the APIC ids
    xor %ebp, %ebp
1:  cmp REQUEST_VCPUS(%esi), %ebp
    jae 3f
    mov (%edi,%ebp,4), %eax
    inc %ebp
    mov %ebp, starting
    shl $24, %eax
    mov %eax, LAPIC_ICR_HIGH
    movl $ICR_INIT, LAPIC_ICR_LOW
    movl $ICR_STARTUP + STARTUP_PAGE, LAPIC_ICR_LOW
2:  pause
    cmpl $0, starting
    jne 2b
    jmp 1b
3:  ret

command:
    call read_byte
    cmp $COMMAND_dump, %eax
    je ask_report
    cmp $WITNESS_COMMAND_pace, %eax
    je read_pace
    cmp $WITNESS_COMMAND_forgetGap, %eax
    je forget_gaps
    cmp $COMMAND_shutdown, %eax
    jne 1f
    mov $SHUTDOWN_CODE, %al
    out %al, $PORT_debugExit
1:  ret

ask_report:
    incl report_wanted
    ret

forget_gaps:
    incl gap_forgets
    ret

read_pace:
    xor %ecx, %ecx
1:  call read_byte
    mov %al, pace_read(%ecx)
    inc %ecx
    cmp $4, %ecx
    jb 1b
    mov pace_read, %eax
    mov %eax, pace
    ret

serial_input

checksum

# Makes this vCPU's record. The first vCPU then sends all, in order, as they stand. The registers of the loop are needed, and must not go
# into memory: debug registers keep them (DR7 enables no breakpoint).
report:
    mov %ebp, %dr0
    mov %esi, %dr1
    mov %edi, %dr2
    lea RECORD(%ebx), %edi
    movl $RECORD_MAGIC, (%edi)
    movl $ABI_VERSION, 4(%edi)
    mov NUMBER(%ebx), %eax
    mov %eax, 12(%edi)
    mov report_wanted, %eax
    dec %eax
    mov %eax, 16(%edi)
    mov flags, %eax
    or $RECORD_FLAG_WITNESS, %eax
    mov %eax, 20(%edi)
    add $RECORD_HEADER_BYTES, %edi
    movl $WITNESS_SECTION_counters, (%edi)
    movl $8 * WITNESS_COUNTER_COUNT, 4(%edi)
    add $SECTION_HEADER_BYTES, %edi
    mov %dr0, %eax                  # laps
    xor %edx, %edx
    call put
    mov %dr2, %eax                  # pages
    call put
    mov VISITS(%ebx), %eax
    mov VISITS + 4(%ebx), %edx
    call put
    mov PASSES(%ebx), %eax
    mov PASSES + 4(%ebx), %edx
    call put
    mov CHANGES(%ebx), %eax
    xor %edx, %edx
    call put
    mov LOST(%ebx), %eax
    call put
    rdtsc
    call put
    mov GAP(%ebx), %eax
    mov GAP + 4(%ebx), %edx
    call put
    mov GAP_PASS(%ebx), %eax
    mov GAP_PASS + 4(%ebx), %edx
    call put
    mov pace, %eax
    xor %edx, %edx
    call put
    mov CHANGES(%ebx), %eax
    cmp $CHANGE_CAP, %eax
    jbe 1f
    mov $CHANGE_CAP, %eax
1:  imul $CHANGE_BYTES, %eax, %ecx
    movl $WITNESS_SECTION_changes, (%edi)
    mov %ecx, 4(%edi)
    add $SECTION_HEADER_BYTES, %edi
    lea CHANGE_ROWS(%ebx), %esi
    shr $2, %ecx
    rep movsl
    lea RECORD(%ebx), %esi
    mov %edi, %ecx
    sub %esi, %ecx
    lea CHECKSUM_BYTES(%ecx), %eax
    mov %eax, 8(%esi)
    call sum_words
    mov %ebp, (%edi)
    mov %edx, 4(%edi)
    mov report_wanted, %eax
    mov %eax, REPORTED(%ebx)
    cmpl $0, NUMBER(%ebx)
    jne 3f
    call send_all
3:  mov %dr0, %ebp
    mov %dr1, %esi
    mov %dr2, %edi
    ret

# Appends EDX:EAX.
put:
    mov %eax, (%edi)
    mov %edx, 4(%edi)
    add $8, %edi
    ret

# Waits for each record, and sends it: by doorbell where the monitor has one, else byte by byte.
send_all:
    mov $areas, %ebp
    mov request, %eax
    mov REQUEST_VCPUS(%eax), %edi
1:  mov report_wanted, %eax
2:  cmp REPORTED(%ebp), %eax
    je 3f
    pause
    jmp 2b
3:  lea RECORD(%ebp), %esi
    in $PORT_probe, %al
    cmp $PROBE_DOORBELL, %al
    jne 4f
    mov %esi, %eax
    out %eax, $PORT_probe
    jmp 5f
4:  mov 8(%esi), %ecx
    mov $PORT_probe, %edx
    rep outsb
5:  add $AREA_BYTES, %ebp
    dec %edi
    jns 1b
    ret

# --- Tables ----------------------------------------------------------------------------------------------------------

# Where there is no request: one vCPU, leaves 0 and 1, IA32_APIC_BASE, 16 pages.
.balign 4
default_request:
    .long WITNESS_REQUEST_MAGIC, 1, 2, 1, 0, 0, 0, WITNESS_BASE, 16, 0, 16, 0
    .long 0, 0, 1, 0
    .long 0x1b

flat_segments

.balign 8
idt:
    .fill FAULT_ud, 8, 0
    gate ud_handler
    .fill FAULT_gp - FAULT_ud - 1, 8, 0
    gate gp_handler
idt_end:
idt_pointer:
    .word idt_end - idt - 1
    .long idt

pvh_note

.bss
.balign 16
flags:          .skip 4
request:        .skip 4
seed:           .skip 4
pace:           .skip 4
pace_read:      .skip 4
starting:       .skip 4             # number of the vCPU that starts; 0 once it loops
report_wanted:  .skip 4
gap_forgets:    .skip 4
beats:          .skip 4             # written to COM1 so far
# One area for each vCPU, from `areas` on: the linker script aligns it, since an aligned section would push the header out of the file's
# first 8 KiB.
.globl areas_room
areas_room:     .skip AREA_BYTES * (WITNESS_VCPU_CAP + 1)
