"""The system calls that team code may not make, as a filter for the kernel.

In: the machine's architecture. Out: a program of the kernel's packet filter (seccomp(2)), which
`jobs.custom.sandbox` hands to bubblewrap. What is left out is what would take memory that no limit
counts (memory files, shared memory without a file, message queues, pages given to pipes), what
would make a new user namespace, and calls that training never needs and in which kernels were
broken into. Each fails with EPERM, as for any user without the right to it. On a GPU memory files
and shared memory without a file are allowed: CUDA's driver does not start without them.

The network namespace is empty anyway; sockets are refused because each holds memory of the kernel.
"""

import errno
import platform
import struct

# Kinds of instruction, from linux/bpf_common.h.
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
# Verdicts, from linux/seccomp.h.
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets in struct seccomp_data; both architectures are little-endian.
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
X32_CALLS = 0x40000000  # x86_64's second table of calls begins here

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: (number on x86_64, on aarch64); None where it does not exist.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Memory outside the process's own, or a way for other processes to hold it.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "mq_open": (240, 180),
    "splice": (275, 76),
    "tee": (276, 77),
    "vmsplice": (278, 75),
    "io_setup": (206, 0),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Large, young or powerful parts of the kernel.
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "lookup_dcookie": (212, 18),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "vhangup": (153, 58),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # Other views of the file system, and namespaces.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
}
DRIVERS_NEED = frozenset({"memfd_create"})
"""Calls of those that a GPU's driver makes."""
CLONE, CLONE3, MMAP = (56, 220), (435, 435), (9, 222)
SOCKET, SOCKETPAIR = (41, 198), (53, 199)
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET of linux/sched.h.
NEW_NAMESPACES = 0x7E020000
MAP_SHARED, MAP_ANONYMOUS, MAP_HUGETLB = 0x01, 0x20, 0x40000
AF_UNIX = 1


def supported(machine: str | None = None) -> bool:
    """Whether there is a filter for this architecture (as `platform.machine()` names it)."""
    return (machine or platform.machine()) in ARCHITECTURES


def program(gpu: bool, machine: str | None = None) -> bytes:
    """Assemble the filter.

    Args:
        gpu: allow what GPU drivers need: memory files, shared memory without a file, and sockets
            between processes of one machine.
        machine: as `platform.machine()` names it; None: this one.

    Raises:
        KeyError: there is no filter for this architecture.
    """
    machine = machine or platform.machine()
    architecture, column = ARCHITECTURES[machine], list(ARCHITECTURES).index(machine)
    refuse, no_such_call = _answer(errno.EPERM), _answer(errno.ENOSYS)
    code = [
        _step(LOAD, ARCHITECTURE),
        _step(JUMP_EQUAL, architecture, 1, 0),
        _step(RETURN, KILL_PROCESS),
        _step(LOAD, NUMBER),
    ]
    if machine == "x86_64":
        code += [_step(JUMP_AT_LEAST, X32_CALLS, 0, 1), _step(RETURN, KILL_PROCESS)]
    for name, numbers in REFUSED.items():
        number = numbers[column]
        if number is not None and not (gpu and name in DRIVERS_NEED):
            code += _when(number, [refuse])
    # Its flags lie in memory, out of a filter's sight; the C library then falls back to clone.
    code += _when(CLONE3[column], [no_such_call])
    code += _when(CLONE[column], _unless_any_bit(0, NEW_NAMESPACES))
    # Pages of a shared mapping without a file can leave the process and stay in memory.
    shared_without_a_file = [
        _step(AND, MAP_SHARED | MAP_ANONYMOUS),
        _step(JUMP_EQUAL, MAP_SHARED | MAP_ANONYMOUS, 0, 1),
        refuse,
    ]
    code += _when(
        MMAP[column],
        [
            _step(LOAD, FIRST_ARGUMENT + 8 * 3),
            _step(JUMP_ANY_BIT, MAP_HUGETLB, 0, 1),
            refuse,
            *([] if gpu else shared_without_a_file),
            _step(RETURN, ALLOW),
        ],
    )
    for numbers in (SOCKET, SOCKETPAIR):
        if gpu:
            of_family = [_step(LOAD, FIRST_ARGUMENT), _step(JUMP_EQUAL, AF_UNIX, 1, 0), refuse]
            code += _when(numbers[column], [*of_family, _step(RETURN, ALLOW)])
        else:
            code += _when(numbers[column], [refuse])
    return b"".join([*code, _step(RETURN, ALLOW)])


def _step(kind: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction, a struct sock_filter; jumps count the instructions that are passed over."""
    return struct.pack("=HBBI", kind, if_true, if_false, value)


def _answer(number: int) -> bytes:
    return _step(RETURN, ERRNO | number)


def _when(call: int, steps: list[bytes]) -> list[bytes]:
    """Run steps, which must return, for one call; the accumulator holds the call's number."""
    return [_step(JUMP_EQUAL, call, 0, len(steps)), *steps]


def _unless_any_bit(argument: int, bits: int) -> list[bytes]:
    """Allow the call, unless one of these bits of an argument's lower half is set."""
    return [
        _step(LOAD, FIRST_ARGUMENT + 8 * argument),
        _step(JUMP_ANY_BIT, bits, 0, 1),
        _answer(errno.EPERM),
        _step(RETURN, ALLOW),
    ]
