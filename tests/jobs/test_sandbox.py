"""The sandbox by itself: what is visible and possible inside, what is limited, and how it ends."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.custom import seccomp, view
from jobs.custom.frames import CHANNEL_FD
from jobs.custom.privileges import unused_user
from jobs.custom.sandbox import Sandbox, unavailable
from jobs.custom.watch import MIB, Usage, excess, limits_for, measure, set_limits
from jobs.errors import SandboxError
from jobs.plan import SandboxRules

MISSING = unavailable(SandboxRules())
needs_sandbox = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
RULES = SandboxRules(temporary_mib=4, open_files=64, processes=16)
REPOSITORY = Path(__file__).parents[2]

# What trusted code finds inside: one line of JSON.
LOOK = """
import json
from jobs.custom.watch import set_limits
set_limits(json.loads(sys.argv[1]))
import ctypes, mmap, resource, socket
def tried(work):
    try:
        work()
    except OSError as error:
        return type(error).__name__ if not isinstance(error, PermissionError) else "refused"
    return "done"
def call(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(*map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")
def write(path):
    return tried(lambda: open(path, "w").close())
def descriptors():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass
def status(pid):
    lines = (line.split(":") for line in open(f"/proc/{pid}/status"))
    return {name: value.strip() for name, value in lines if name[:3] in ("Cap", "NoN", "Sec")}
found = dict(
    root=sorted(os.listdir("/")), dev=sorted(os.listdir("/dev")), game=os.listdir("/game"),
    user=os.getuid(), environment=dict(os.environ), descriptors=dict(descriptors()),
    processes=[p for p in os.listdir("/proc") if p.isdecimal()],
    interfaces=[l.split(":")[0].strip() for l in open("/proc/net/dev") if ":" in l],
    own=status("self"), holder=status(1), host=os.uname().nodename,
    written={path: write(path) for path in
             ("/x", "/dev/x", "/usr/x", "/game/jobs/x", "/etc/x", "/sys/devices/system/cpu/x",
              "/proc/sys/kernel/core_pattern", sys.prefix + "/lib/x", "/tmp/x")},
    filled=tried(lambda: open("/tmp/full", "wb").write(bytes(5 << 20))),
    limits={name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))
            for name in ("NPROC", "NOFILE", "FSIZE", "DATA", "CPU", "CORE")},
    calls=dict(
        memfd=tried(lambda: os.memfd_create("x")),
        shared=tried(lambda: mmap.mmap(-1, 4096)),
        private=tried(lambda: mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)),
        socket=tried(lambda: socket.socket()), local=tried(lambda: socket.socketpair()),
        chroot=tried(lambda: os.chroot("/tmp")), root=tried(lambda: os.setuid(0)),
        thread=tried(lambda: __import__("threading").Thread(target=int).start()),
        x86=tried(lambda: call(272, 0x10000000)) if os.uname().machine == "x86_64" else "refused",
    ),
)
print(json.dumps(found))
"""


def _run(code: str, rules: SandboxRules = RULES, *descriptors: int) -> str:
    with Sandbox(rules, "cpu", 1, descriptors, code=code) as sandbox:
        ended = sandbox.ended_by(30)
        said = os.read(sandbox.output_fd, 1 << 20).decode()
    assert ended == (0, None), said
    return said


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Any]]:
    """What LOOK found, with one more descriptor handed in, and one that was not."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    yield json.loads(_run(LOOK, RULES, read_end))
    os.close(read_end)
    os.close(write_end)


@needs_sandbox
def test_nothing_else_is_visible(found: dict[str, Any]) -> None:
    system = {"bin", "sbin", "lib", "lib32", "lib64", "usr", "etc", "sys", "proc", "dev", "tmp"}
    for folder in (sys.prefix, sys.base_prefix):
        system.add(Path(folder).parts[1])
    assert set(found["root"]) <= system | {"game"}
    assert found["dev"] == ["null", "random", "urandom"]
    assert found["game"] == ["jobs"]
    assert len(found["processes"]) == 2  # itself, and what holds the sandbox
    assert found["interfaces"] in ([], ["lo"])
    assert found["host"] == "sandbox"


@needs_sandbox
def test_nothing_else_is_inherited(found: dict[str, Any]) -> None:
    kinds = {int(fd): target.split(":")[0] for fd, target in found["descriptors"].items()}
    handed_in = set(kinds) - {0, 1, 2, CHANNEL_FD}
    assert kinds[0] == "/dev/null"
    assert kinds[CHANNEL_FD] == "socket"
    assert [kinds[fd] for fd in handed_in] == ["pipe"]
    assert set(found["environment"]) <= {
        *("PATH", "LANG", "HOME", "TMPDIR", "USER", "OMP_NUM_THREADS", "PWD"),
        *("PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"),
    }


@needs_sandbox
def test_nobody_inside_has_privileges(found: dict[str, Any]) -> None:
    assert found["user"] not in (0, os.getuid())
    for who in ("own", "holder"):
        assert int(found[who]["CapEff"], 16) == int(found[who]["CapPrm"], 16) == 0
        assert found[who]["NoNewPrivs"] == "1"
        assert found[who]["Seccomp"] == "2"


@needs_sandbox
def test_only_the_temporary_folder_can_be_written_to(found: dict[str, Any]) -> None:
    written = dict(found["written"])
    assert written.pop(f"{view.TEMPORARY}/x") == "done"
    assert set(written.values()) <= {"refused", "OSError"}
    assert found["filled"] == "OSError"  # 5 MiB into 4


@needs_sandbox
def test_calls_that_escape_limits_are_refused(found: dict[str, Any]) -> None:
    allowed = {"private", "thread"}
    for name, outcome in found["calls"].items():
        if name == "root":
            assert outcome in ("refused", "OSError")
        else:
            assert outcome == ("done" if name in allowed else "refused"), name


@needs_sandbox
def test_the_limits_hold_inside(found: dict[str, Any]) -> None:
    limits = {name: soft for name, (soft, hard) in found["limits"].items() if soft == hard}
    assert limits["NOFILE"] == 64
    assert limits["CORE"] == 0
    assert limits["FSIZE"] == 4 * MIB
    assert limits["CPU"] >= RULES.cpu_seconds
    assert limits["DATA"] >= RULES.memory_mib * MIB
    assert limits["NPROC"] >= RULES.processes


@needs_sandbox
def test_all_of_it_ends_with_it() -> None:
    code = """
import time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print("up", flush=True)
            time.sleep(100)
        os._exit(0)
time.sleep(100)
"""
    held, holds = os.pipe()
    with os.fdopen(held, "rb") as pipe, Sandbox(RULES, "cpu", 1, [holds], code=code) as sandbox:
        os.close(holds)
        said = b""
        while said.count(b"up") < 3:
            said += os.read(sandbox.output_fd, 100)
        usage = measure(sandbox.processes(), RULES, sandbox.temporary)
        assert usage.tasks >= 5
        assert 0 < usage.memory_bytes < 1 << 30
        assert sandbox.ended_by(0) is None
        sandbox.close()
        os.set_blocking(pipe.fileno(), False)
        assert pipe.read() == b""  # nobody has the other end any more
        assert sandbox.processes() == []


@needs_sandbox
def test_a_plain_process_has_the_limits_at_least() -> None:
    rules = RULES.model_copy(update={"isolation": "process"})
    code = """
import json
from jobs.custom.watch import set_limits
set_limits(json.loads(sys.argv[1]))
import resource
print(json.dumps([resource.getrlimit(resource.RLIMIT_NOFILE), dict(os.environ), os.getcwd()]))
"""
    files, environment, folder = json.loads(_run(code, rules))
    assert files == [64, 64]
    assert environment["TMPDIR"] == folder
    assert "VIRTUAL_ENV" not in environment
    assert not Path(folder).exists()  # it went with the sandbox


def _with_path(path: str) -> dict[str, str]:
    return {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_where_bubblewrap_is_missing_it_says_what_to_do() -> None:
    code = (
        "from jobs.custom.sandbox import unavailable; from jobs.plan import SandboxRules; "
        "print(unavailable(SandboxRules())); print(unavailable(SandboxRules(isolation='process')))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command,
        env=_with_path("/nowhere"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    missing, plain = done.stdout.splitlines()
    assert "apt-get install bubblewrap" in missing
    assert "customIsolation: process" in missing
    assert plain == "None"


def test_where_bubblewrap_fails_it_says_why(tmp_path: Path) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n"
    )
    bwrap.chmod(0o755)
    code = (
        "from jobs.custom.sandbox import unavailable; from jobs.plan import SandboxRules; "
        "print(unavailable(SandboxRules()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=_with_path(f"{tmp_path}:{os.environ['PATH']}"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "No permissions to create new namespace" in done.stdout
    assert "seccompProfile" in done.stdout


# --- the filter of system calls ------------------------------------------------------------------


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
    cpu, cuda = (seccomp.program(local, machine) for local in (False, True))
    refused = {
        name: numbers[column]
        for name, numbers in seccomp.REFUSED.items()
        if numbers[column] is not None
    }
    for name, number in refused.items():
        assert _verdict(cpu, own, number or 0) == "errno 1", name
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


# --- what is used, and who uses it ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "elapsed_s", "kind", "said"),
    [
        (Usage(), 3600, None, ""),
        (Usage(512 * MIB, 16, 7200, 20_000), 0, None, ""),
        (Usage(memory_bytes=513 * MIB), 0, "memory", "513 MiB of memory; 512 are allowed"),
        (Usage(tasks=17), 0, "processes", "17 processes and threads at a time; 16 are"),
        (Usage(cpu_s=7200.5), 0, "cpu", "more than 7200 s of processor time"),
        (Usage(temporary_files=20_001), 0, "files", "20001 temporary files"),
        (Usage(), 3600.1, "time", r"longer than 3600 s \(customLimits.wallSeconds"),
    ],
)
def test_each_limit_has_its_words(
    usage: Usage, elapsed_s: float, kind: str | None, said: str
) -> None:
    found = excess(usage, SandboxRules(memory_mib=512, processes=16), elapsed_s)
    assert (found and found.kind) == kind
    if found is not None:
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(found.message)


def test_memory_counts_what_was_touched(tmp_path: Path) -> None:
    own = [Path("/proc/self"), tmp_path / "ended"]
    before = measure(own, SandboxRules())
    held = bytearray(b"x" * (64 * MIB))
    after = measure(own, SandboxRules())
    exact = measure(own, SandboxRules(memory_mib=512, processes=4096))
    assert after.memory_bytes - before.memory_bytes > 60 * MIB
    assert len(held) < exact.memory_bytes <= after.memory_bytes + MIB
    assert after.tasks >= 1
    assert after.cpu_s > 0


def test_limits_can_be_set_from_outside() -> None:
    with subprocess.Popen(["/bin/sleep", "100"]) as process:
        set_limits(limits_for(SandboxRules(open_files=77), "cuda"), process.pid)
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        process.kill()
    lines = {line[:26].strip(): line[26:].split() for line in limits.splitlines()}
    assert lines["Max open files"][:2] == ["77", "77"]
    assert lines["Max data size"][0] == "unlimited"  # drivers reserve more than they use


def test_the_drawn_user_exists_and_is_nobody_of_ours() -> None:
    extents = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    user = unused_user()
    assert any(int(first) <= user < int(first) + int(size) for first, _, size in extents)
    assert user != os.getuid() or extents[0][2] == "1"


# --- GPUs ----------------------------------------------------------------------------------------


def test_a_slot_shows_its_own_gpus_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bus, name, minor in (("0000:01:00.0", "GPU-aa", 1), ("0000:02:00.0", "GPU-bb", 0)):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(
            f"Model: \t X\nGPU UUID: \t {name}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
        )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert view.visible_gpus(tmp_path) == [("GPU-aa", 1), ("GPU-bb", 0)]
    for wanted, gpus in {"0": [("GPU-aa", 1)], "GPU-b": [("GPU-bb", 0)], "": []}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
        assert view.visible_gpus(tmp_path) == gpus
    for wanted in ("2", "MIG-aa", "GPU-"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
        with pytest.raises(SandboxError, match="no whole GPU"):
            view.visible_gpus(tmp_path)
    assert view.devices("cpu") == []
