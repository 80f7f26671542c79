"""The filter of system calls: what the kernel would answer, on each architecture."""

import socket
import struct

import pytest

from jobs.custom import seccomp


def _verdict(program: bytes, architecture: int, number: int, *arguments: int) -> str:
    """What the kernel would answer: an interpreter of the few instructions that are used."""
    padded = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack("<iIQ6Q", number, architecture, 0, *padded)
    at = accumulator = 0
    while True:
        kind, if_true, if_false, value = struct.unpack_from("<HBBI", program, 8 * at)
        at += 1
        if kind == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif kind == seccomp.AND:
            accumulator &= value
        elif kind == seccomp.RETURN:
            names = {seccomp.ALLOW: "allow", seccomp.KILL_PROCESS: "kill"}
            return names.get(value, f"errno {value & 0xFFFF}")
        else:
            holds = {
                seccomp.JUMP_EQUAL: accumulator == value,
                seccomp.JUMP_AT_LEAST: accumulator >= value,
                seccomp.JUMP_ANY_BIT: accumulator & value != 0,
            }[kind]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_decides_by_number_and_flags(machine: str) -> None:
    column, own = list(seccomp.ARCHITECTURES).index(machine), seccomp.ARCHITECTURES[machine]
    cpu, cuda = (seccomp.program(gpu, machine) for gpu in (False, True))
    refused = {
        name: numbers[column]
        for name, numbers in seccomp.REFUSED.items()
        if numbers[column] is not None
    }
    for name, number in refused.items():
        assert _verdict(cpu, own, number or 0) == "errno 1", name
        on_gpu = "allow" if name == "memfd_create" else "errno 1"
        assert _verdict(cuda, own, number or 0) == on_gpu, name
    for number in set(range(600)) - set(refused.values()):
        special = (seccomp.CLONE3, seccomp.SOCKET, seccomp.SOCKETPAIR)
        if number not in {numbers[column] for numbers in special}:
            assert _verdict(cpu, own, number) == "allow", number
    assert _verdict(cpu, own, seccomp.CLONE3[column]) == "errno 38"
    clone, mmap = seccomp.CLONE[column], seccomp.MMAP[column]
    assert _verdict(cpu, own, clone, 0x003D0F00) == "allow"  # a thread
    assert _verdict(cpu, own, clone, 0x10000011) == "errno 1"  # a user namespace
    private, shared, shared_file, huge = 0x22, 0x21, 0x01, 0x40022
    assert _verdict(cpu, own, mmap, 0, 4096, 3, private) == "allow"
    assert _verdict(cpu, own, mmap, 0, 4096, 3, shared_file) == "allow"
    assert _verdict(cpu, own, mmap, 0, 4096, 3, shared) == "errno 1"
    assert _verdict(cuda, own, mmap, 0, 4096, 3, shared) == "allow"
    assert _verdict(cuda, own, mmap, 0, 4096, 3, private) == "allow"
    assert _verdict(cuda, own, mmap, 0, 4096, 3, huge) == "errno 1"
    assert _verdict(cpu, own, mmap, 0, 4096, 3, huge) == "errno 1"
    for call in (seccomp.SOCKET[column], seccomp.SOCKETPAIR[column]):
        assert _verdict(cpu, own, call, socket.AF_UNIX) == "errno 1"
        assert _verdict(cuda, own, call, socket.AF_UNIX) == "allow"
        assert _verdict(cuda, own, call, socket.AF_INET) == "errno 1"
    others = {0x40000003, *seccomp.ARCHITECTURES.values()} - {own}  # i386 is one
    assert {_verdict(cpu, other, 39) for other in others} == {"kill"}


def test_the_second_table_of_calls_is_closed() -> None:
    program = seccomp.program(False, "x86_64")
    assert _verdict(program, seccomp.ARCHITECTURES["x86_64"], 0x40000000 + 319) == "kill"


def test_an_unknown_architecture_has_no_filter() -> None:
    assert not seccomp.supported("riscv64")
    with pytest.raises(KeyError):
        seccomp.program(False, "riscv64")
