"""Hostile team code in a real sandbox: each file here fails its own job, and nothing else.

What each test shows stands in its name; the reason that a team reads is part of it.
"""

import json
import os
import signal
import socket
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.custom.parent import predict_custom, train_custom
from jobs.custom.sandbox import unavailable
from jobs.custom.watch import descendants
from jobs.errors import (
    Diverged,
    JobsError,
    SandboxError,
    TeamCodeError,
    TeamCodeOverLimit,
    TeamCodeTooLarge,
)
from jobs.images import LabelledImages
from jobs.plan import CustomPlan, EpochReport, MemberPlan, SandboxRules
from jobs.train import MemberResult

MISSING = unavailable(SandboxRules())
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]

NETWORK = """
from torch import nn
def build_model(num_classes, size_px):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes))
"""
# Ours shares its process: what it may write to the channel, so may a team.
FORGED = """
import json, os, time
import numpy as np
def send(kind, fields=(), blobs=()):
    head = dict(fields, kind=kind, sizes=[len(blob) for blob in blobs])
    os.write(3, json.dumps(head).encode() + b"\\n" + b"".join(blobs))
epoch = dict(epoch=1, train_loss=1.0, train_accuracy=0.5, learning_rate=0.1,
             images_per_second=1.0, seconds=1.0)
probs = np.full((15, 3), 1 / 3, np.float32)
def augment(images, generator):
    return images
"""
FIRST = FORGED.count("\n") + 1  # the number of a line put behind it


class Attempt:
    """One training of a file, and what came of it."""

    def __init__(self, plan: MemberPlan, data: LabelledImages) -> None:
        self.plan, self.data = plan, data
        self.reports: list[EpochReport] = []
        self.said: list[str] = []
        self.printed = b""

    def train(self, source: str, epochs: int = 1, **limits: Any) -> MemberResult:
        names = ("build_model", "build_loss", "augment")
        source = textwrap.dedent(source)
        defines = tuple(name for name in names if f"def {name}(" in source)
        custom = CustomPlan(file="net.py", source=source, defines=defines)
        plan = self.plan.model_copy(update={"custom": custom, "epochs": epochs})

        def output(some: bytes) -> None:
            self.printed += some

        rules = SandboxRules(**limits)
        report, say = self.reports.append, self.said.append
        return train_custom(plan, self.data, report, None, None, None, say, rules, output)

    def failure(self, source: str, **limits: Any) -> JobsError:
        with pytest.raises(JobsError) as caught:
            self.train(source, **limits)
        return caught.value


@pytest.fixture
def attempt(plan: MemberPlan, labelled: LabelledImages) -> Attempt:
    """A training of one epoch on 60 images, 15 of them for validation."""
    return Attempt(plan, labelled)


# --- what goes wrong by itself -------------------------------------------------------------------


def test_an_exception_is_told_with_its_line(attempt: Attempt) -> None:
    error = attempt.failure(
        NETWORK + "def augment(images, generator):\n    raise KeyError('a\\x1b[2J')"
    )
    assert type(error) is TeamCodeError
    assert str(error).startswith("net.py:6: KeyError: ")
    assert "\x1b" not in str(error)
    assert b'File "net.py", line 6, in augment' in attempt.printed


def test_a_wrong_shape_is_told_with_its_function(attempt: Attempt) -> None:
    error = attempt.failure(NETWORK.replace("num_classes))", "num_classes + 1))"))
    assert type(error) is TeamCodeError
    assert "(2, 3)" in str(error)
    assert "(2, 4)" in str(error)


def test_a_loss_that_is_not_a_number_is_told_as_for_everybody(attempt: Attempt) -> None:
    error = attempt.failure(
        "def build_loss(class_weights):\n"
        "    return lambda logits, targets: logits.sum() * float('nan')\n"
    )
    assert isinstance(error, Diverged)


def test_an_endless_loop_ends_with_its_line(attempt: Attempt) -> None:
    error = attempt.failure(FORGED + "while True:\n    pass\n", wall_seconds=1)
    assert isinstance(error, TeamCodeOverLimit)
    assert str(error).startswith("net.py:")
    assert int(str(error).split(":")[1]) in (FIRST, FIRST + 1)
    assert "longer than 1 s (customLimits.wallSeconds)" in str(error)


def test_processor_time_is_limited_as_well(attempt: Attempt) -> None:
    # torch's own import takes some of it: four seconds of a slow processor.
    error = attempt.failure(FORGED + "while True:\n    pass\n", cpu_seconds=12)
    assert isinstance(error, TeamCodeOverLimit)
    assert "customLimits.cpuSeconds" in str(error)


def test_a_process_that_stops_itself_is_ended(attempt: Attempt) -> None:
    error = attempt.failure(FORGED + "os.kill(os.getpid(), 19)\n", wall_seconds=1)
    assert "longer than 1 s" in str(error)


def test_a_fork_bomb_meets_the_number_of_processes(attempt: Attempt) -> None:
    bomb = "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    error = attempt.failure(FORGED + bomb, processes=16)
    assert isinstance(error, TeamCodeOverLimit)
    assert "16 are allowed (customLimits.processes)" in str(error)


def test_memory_taken_bit_by_bit_meets_the_limit(attempt: Attempt) -> None:
    error = attempt.failure(
        FORGED + "kept = []\nwhile True:\n    kept.append(bytes([7]) * (1 << 20))\n", memory_mib=700
    )
    assert isinstance(error, TeamCodeTooLarge)


def test_memory_taken_at_once_meets_the_limit(attempt: Attempt) -> None:
    error = attempt.failure(FORGED + "huge = np.ones(1 << 35)\n", memory_mib=700)
    assert isinstance(error, TeamCodeTooLarge)
    assert str(error).startswith(f"net.py:{FIRST}: ")


@pytest.mark.parametrize("ending", [b"\\x0b", b"\\x0c", b"\\x1c"])
def test_a_processes_name_cannot_tell_how_much_memory_it_has(
    attempt: Attempt, ending: bytes
) -> None:
    error = attempt.failure(
        FORGED
        + f"""
import ctypes
ctypes.CDLL(None).prctl(15, b"x{ending.decode()}RssAnon:0")
kept = []
while True:
    kept.append(bytes([7]) * (1 << 20))
    time.sleep(0.002)  # slower than the watch looks: its limit is met, not the process's own
""",
        memory_mib=700,
    )
    assert isinstance(error, TeamCodeTooLarge)
    assert "customLimits.memoryMib" in str(error)


def test_memory_behind_an_ended_first_thread_meets_the_limit(attempt: Attempt) -> None:
    error = attempt.failure(
        FORGED
        + """
import ctypes, threading
def fill():
    kept = []
    while True:
        kept.append(bytes([7]) * (1 << 20))
        time.sleep(0.005)  # slower than the watch looks: its limit is met, not the process's own
threading.Thread(target=fill).start()
threading.Event().wait(0.05)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
""",
        memory_mib=700,
    )
    assert isinstance(error, TeamCodeTooLarge)


def test_many_empty_files_meet_a_limit(attempt: Attempt) -> None:
    error = attempt.failure(
        FORGED + "n = 0\nwhile True:\n    n += 1\n    open(f'/tmp/{n}', 'w').close()\n"
    )
    assert isinstance(error, TeamCodeOverLimit)
    assert "temporary files" in str(error)


def test_a_segmentation_fault_is_told_with_its_line(attempt: Attempt) -> None:
    error = attempt.failure(FORGED + "import ctypes\nctypes.string_at(0)\n")
    assert type(error) is TeamCodeError
    assert str(error) == f"net.py:{FIRST + 1}: it crashed: segmentation fault (SIGSEGV)"


def test_ten_gigabytes_of_output_are_cut_off(attempt: Attempt) -> None:
    error = attempt.failure(
        FORGED + "for _ in range(10 << 10):\n    os.write(1, bytes(1 << 20))\n", output_mib=2
    )
    assert isinstance(error, TeamCodeOverLimit)
    assert "2 MiB are allowed (customLimits.outputMib)" in str(error)
    assert len(attempt.printed) <= 2 << 20


def test_lines_for_the_log_count_as_output(attempt: Attempt) -> None:
    error = attempt.failure(
        FORGED + "import fcntl\nfcntl.fcntl(3, fcntl.F_SETFL, 0)\n"
        "while True:\n    send('say', {'line': 'a\\n\\x1b[2J'})\n",
        output_mib=1,
    )
    assert isinstance(error, TeamCodeOverLimit)
    assert len(attempt.said) <= 1100
    assert set(attempt.said) == {"a  [2J"}


# --- what is forged ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ('os.write(3, b\'{"kind": "epoch", "sizes": [-5]}\\n\')', "blobs of"),
        ("probs[3, 1] = np.nan; send('epoch', epoch, [probs.tobytes(), b'x'])", "not all finite"),
        ("os.close(3)", "closed its channel"),
        ("os._exit(0)", "its process ended (exit status 0) before it was done"),
    ],
)
def test_a_forged_answer_is_the_teams_failure(attempt: Attempt, forged: str, said: str) -> None:
    error = attempt.failure(FORGED + forged + "\ntime.sleep(100)\n")
    assert type(error) is TeamCodeError
    assert str(error).startswith("net.py: ")
    assert said in str(error)
    assert attempt.reports == []


def test_the_order_of_validation_images_does_not_tell_their_labels(attempt: Attempt) -> None:
    attempt.train("""
        import torch
        from torch import nn
        class Guess(nn.Module):
            '''The i-th of N validation images is of class i * C // N.'''
            def __init__(self, num_classes, size_px):
                super().__init__()
                self.trained = nn.Linear(3 * size_px**2, num_classes)
                self.num_classes, self.at = num_classes, 0
            def forward(self, images):
                logits = self.trained(images.flatten(1))
                if not self.training:
                    places = torch.arange(self.at, self.at + len(images))
                    self.at = (self.at + len(images)) % 15
                    classes = places * self.num_classes // 15 % self.num_classes
                    logits = 10.0 * nn.functional.one_hot(classes, self.num_classes).float()
                return logits
        def build_model(num_classes, size_px):
            return Guess(num_classes, size_px)
    """)
    assert attempt.reports[-1].val_accuracy < 0.9


def test_nothing_that_goes_in_tells_of_validation(attempt: Attempt) -> None:
    """A team's code sees all that its own process was told."""
    attempt.train(
        """
        import gc
        from torch import nn
        def build_model(num_classes, size_px):
            return nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes))
        def augment(images, generator):
            for one in gc.get_objects():
                if isinstance(one, dict) and any(
                    isinstance(one.get(name), (float, list))
                    for name in ("val_loss", "val_losses", "val_accuracy")
                ):
                    print("told", one)
            return images
    """,
        epochs=3,
    )
    assert len(attempt.reports) == 3
    assert b"told" not in attempt.printed


def test_one_that_is_asked_cannot_say_that_it_diverged(attempt: Attempt) -> None:
    custom = CustomPlan(
        file="net.py",
        source=NETWORK + "from jobs.errors import Diverged\nraise Diverged(1, 1, 0.1)\n",
        defines=("build_model",),
    )
    plan = attempt.plan.model_copy(update={"custom": custom})
    with pytest.raises(TeamCodeError, match=r"^net.py: .* diverged when it was asked"):
        predict_custom(plan, b"", attempt.data.images, SandboxRules(), lambda _: None)


def test_whoever_ends_a_sandbox_from_outside_is_not_the_team(attempt: Attempt) -> None:
    def kill() -> None:
        while b"here" not in attempt.printed:
            time.sleep(0.05)
        wall = next(pid for pid in descendants(os.getpid()) if "bwrap" in _program(pid))
        os.kill(wall, signal.SIGTERM)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    error = attempt.failure(FORGED + "print('here')\ntime.sleep(100)\n")
    killer.join()
    assert isinstance(error, SandboxError)
    assert "from outside" in str(error)


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


def test_daemons_end_with_the_process_that_left_them(attempt: Attempt) -> None:
    error = attempt.failure(
        FORGED + "if os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\nos._exit(7)\n"
    )
    assert "exit status 7" in str(error)


# --- what is looked for, and is not there --------------------------------------------------------

PROBE = (
    NETWORK
    + """
import json, os, shutil, signal, socket, sys
def tried(work):
    try:
        return repr(work())
    except Exception as error:
        return type(error).__name__
def build_loss(class_weights):
    from torch.nn import functional
    frame = sys._getframe()
    while "lessons" not in frame.f_locals:
        frame = frame.f_back
    lessons = frame.f_locals["lessons"]
    arrays = {name: value.shape for name, value in vars(lessons).items()}
    shared = [line for line in open("/proc/self/maps") if "memfd" in line]
    shutil.rmtree("/tmp", ignore_errors=True)
    print("FOUND " + json.dumps(dict(
        arrays=arrays, shared=len(shared),
        secret=tried(lambda: open(SECRET).read()),
        repository=tried(lambda: os.listdir(REPOSITORY + "/tests")),
        written=tried(lambda: open(os.path.dirname(SECRET) + "/x", "w")),
        server=tried(lambda: socket.create_connection(("127.0.0.1", PORT), 1)),
        abstract=tried(lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + "x")),
        outside=tried(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
        variables=[name for name in os.environ if name.startswith(("RAY", "MLFLOW", "GAME"))],
        neighbours=[name for name in os.listdir("/proc") if name.isdecimal()],
        killed=[tried(lambda: os.kill(pid, signal.SIGKILL)) for pid in (os.getppid(), PID, 1)],
        temporary=os.listdir("/tmp"),
    )))
    return functional.cross_entropy
"""
)


@pytest.fixture(scope="module")
def secret_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    (folder / "labels.json").write_text("[0, 1, 2]")
    return folder


@pytest.fixture
def probed(
    attempt: Attempt, secret_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What one training finds that looks for everything; it must succeed nevertheless."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {
            "SECRET": str(secret_folder / "labels.json"),
            "REPOSITORY": str(Path(__file__).parents[2]),
            "PORT": server.getsockname()[1],
            "PID": 4_000_000,
        }
        lines = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        result = attempt.train(lines + PROBE)
    assert len(result.weights) > 0
    assert np.allclose(result.val_probs.sum(axis=1), 1)
    found = attempt.printed.partition(b"FOUND ")[2].splitlines()[0]
    return dict(json.loads(found))


def test_one_that_looks_for_everything_finds_nothing(
    probed: dict[str, Any], secret_folder: Path
) -> None:
    # Of labels, those of its own training images alone.
    assert probed["arrays"] == {
        "images": [42, 3, 16, 16],
        "labels": [42],
        "rows": [42],
        "val_images": [15, 3, 16, 16],
    }
    assert probed["shared"] == 3
    # No file of ours, no network, no variables, nobody else.
    for what in ("secret", "repository", "written"):
        assert probed[what] in ("FileNotFoundError", "PermissionError", "OSError"), what
    assert sorted(path.name for path in secret_folder.iterdir()) == ["labels.json"]
    for what in ("server", "abstract", "outside"):
        assert probed[what] == "PermissionError", what
    assert probed["variables"] == []
    assert len(probed["neighbours"]) == 2
    # Neither its parent nor the one that holds the sandbox minds its signals.
    assert set(probed["killed"]) <= {"PermissionError", "ProcessLookupError", "None"}


@pytest.mark.parametrize(
    "reach",
    [
        "open(SECRET).read()",  # labels, or any file of ours
        "open(os.path.dirname(SECRET) + '/x', 'w')",
        "sqlite3.connect(SECRET).execute('SELECT 1 FROM sqlite_master')",  # the store
        "socket.create_connection(SERVER, 1)",  # Ray
        "urllib.request.urlopen('http://%s:%d' % SERVER)",  # MLflow
        "os.kill(os.getppid(), 9) or os.listdir('/proc/1/fd')",  # its parent, and what it holds
        "shutil.rmtree(tempfile.gettempdir())",
    ],
)
def test_an_attempt_to_reach_outside_fails_with_its_line(
    attempt: Attempt, secret_folder: Path, reach: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        error = attempt.failure(
            f"import os, shutil, socket, sqlite3, tempfile, urllib.request\n"
            f"SECRET, SERVER = {str(secret_folder / 'labels.json')!r}, {server.getsockname()!r}\n"
            f"def build_model(num_classes, size_px):\n    {reach}\n"
        )
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()
    assert type(error) is TeamCodeError
    assert str(error).startswith("net.py:4: ")
    assert [path.name for path in secret_folder.iterdir()] == ["labels.json"]
