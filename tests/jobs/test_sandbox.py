"""The sandbox by itself: what is visible and possible inside, what is limited, and how it ends."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jobs.custom import view
from jobs.custom.frames import CHANNEL_FD
from jobs.custom.sandbox import Sandbox, unavailable
from jobs.custom.usage import MIB, measure
from jobs.plan import SandboxRules

MISSING = unavailable(SandboxRules())
needs_sandbox = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
RULES = SandboxRules(temporary_mib=4, open_files=64, processes=16)

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
@pytest.mark.parametrize("mapped", [False, True])
def test_temporary_files_count_as_memory_once(mapped: bool) -> None:
    code = f"""
import mmap, time
with open("/tmp/x", "w+b") as file:
    file.write(bytes(3 << 20))
    file.flush()
    if {mapped}:
        pages = mmap.mmap(file.fileno(), 0)
        sum(pages[::4096])
print("up", flush=True)
time.sleep(100)
"""
    with Sandbox(RULES, "cpu", 1, code=code) as sandbox:
        assert os.read(sandbox.output_fd, 2) == b"up"
        processes = sandbox.processes()
        without = measure(processes, RULES).memory_bytes
        more = measure(processes, RULES, sandbox.temporary).memory_bytes - without
    assert more // MIB == (0 if mapped else 3)


def test_a_plain_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    code = """
import os
from jobs.custom.sandbox import Sandbox
from jobs.plan import SandboxRules
busy = "print('up', flush=True)\\nwhile True: pass"
with Sandbox(SandboxRules(isolation="process"), "cpu", 1, code=busy) as sandbox:
    assert os.read(sandbox.output_fd, 2) == b"up"
    print(sandbox.first_process(), flush=True)
    sandbox.ended_by(600)
"""
    own = {**os.environ, "TMPDIR": str(tmp_path)}  # killed, it leaves its folder
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=own) as starter:
        assert starter.stdout is not None
        number = int(starter.stdout.readline())
        process = os.pidfd_open(number)
        starter.kill()
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        assert poll.poll(60_000)
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)


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
