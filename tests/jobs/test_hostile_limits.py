"""Team code that fails or takes too much, in a real sandbox: its line and the limit are told."""

import pytest

from jobs.errors import Diverged, TeamCodeError, TeamCodeOverLimit, TeamCodeTooLarge
from tests.jobs.hostile import FIRST, FORGED, NETWORK, Attempt, needs_sandbox

pytestmark = [pytest.mark.slow, needs_sandbox]


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
    error = attempt.failure(FORGED + "while True:\n    pass\n", wall_seconds=3)
    assert isinstance(error, TeamCodeOverLimit)
    assert str(error).startswith("net.py:")
    assert int(str(error).split(":")[1]) in (FIRST, FIRST + 1)
    assert "longer than 3 s (customLimits.wallSeconds)" in str(error)


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


def test_whatever_comes_with_a_line_counts_as_output(attempt: Attempt) -> None:
    error = attempt.failure(
        FORGED + "import fcntl\nfcntl.fcntl(3, fcntl.F_SETFL, 0)\n"
        "for _ in range(100):\n    send('say', {'line': 'a', 'more': 'x' * 500_000})\n"
        "time.sleep(100)\n",
        output_mib=1,
        wall_seconds=60,
    )
    assert isinstance(error, TeamCodeOverLimit)
    assert "1 MiB are allowed (customLimits.outputMib)" in str(error)
    assert len(attempt.said) == 2


def test_a_signal_that_was_to_tell_the_line_does_not_hide_the_limit(attempt: Attempt) -> None:
    error = attempt.failure(
        FORGED + "import signal\nsignal.signal(10, signal.SIG_DFL)\nwhile True:\n    pass\n",
        wall_seconds=1,
    )
    assert isinstance(error, TeamCodeOverLimit)
    assert "longer than 1 s" in str(error)


def test_locks_that_a_sandbox_does_not_have_are_named(attempt: Attempt) -> None:
    error = attempt.failure(FORGED + "import multiprocessing\nmultiprocessing.Pool(2)\n")
    assert str(error).startswith(
        f"net.py:{FIRST + 1}: FileNotFoundError: there is no shared memory"
    )
