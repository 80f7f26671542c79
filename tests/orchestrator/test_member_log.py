"""The log of a member: everything that is printed, in a process of its own, on real files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.plan import EpochReport
from orchestrator.cluster.member_log import member_log

REPORT = EpochReport(
    epoch=3,
    train_loss=1.93,
    train_accuracy=0.3125,
    val_loss=2,
    val_accuracy=0.351,
    learning_rate=0.1,
    images_per_second=900,
    seconds=0.8,
)
TRAINING = """
import ctypes, logging, os, subprocess, sys, warnings
from pathlib import Path
from jobs.errors import Diverged, Stopped
from orchestrator.cluster.member_log import member_log
path = sys.argv[1]
print("before", flush=True)
try:
    with member_log(path, "attempt 1 on slot-0"{more}) as log:
{body}
except BaseException as error:
    print("raised", type(error).__name__)
print("after")
print("error after", file=sys.stderr)
"""


def run(path: Path, body: str, more: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a training in a process of its own; what it prints outside of the log comes back."""
    indented = "\n".join(f"        {line}" for line in body.strip().splitlines())
    script = TRAINING.format(body=indented, more=more)
    return subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )


def test_everything_that_is_printed_is_in_the_log_in_order(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "yet.log"
    outside = run(
        path,
        """
print("from Python")
print("to stderr", file=sys.stderr)
print("no end of line", end="")
print(" yet")
os.write(1, b"to descriptor 1\\n")
ctypes.CDLL(None).dprintf(2, b"from C\\n")
subprocess.run(["echo", "from a child"], check=True)
warnings.warn("a warning")
logging.getLogger("some").warning("a log line")
log.say("said")
""",
    )
    heading, *lines, last = path.read_text().splitlines()
    assert heading.endswith("Z  attempt 1 on slot-0")
    assert lines[:6] == [
        "from Python",
        "to stderr",
        "no end of line yet",
        "to descriptor 1",
        "from C",
        "from a child",
    ]
    assert any("UserWarning: a warning" in line for line in lines)
    assert lines[-2:] == ["a log line", "said"]
    assert last.startswith("completed after ")
    assert outside.stdout == "before\nafter\n"
    assert outside.stderr == "error after\n"


def test_a_line_can_be_read_as_soon_as_it_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    outside = run(path, 'print("now")\nassert Path(path).read_text().endswith("\\nnow\\n")')
    assert "raised" not in outside.stdout


def test_an_exception_is_written_down_with_its_traceback_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    outside = run(path, 'print("first")\nint("five")')
    text = path.read_text()
    assert "first\nTraceback (most recent call last):\n" in text
    assert text.splitlines()[-1].startswith("failed after ")
    assert text.endswith(": ValueError: invalid literal for int() with base 10: 'five'\n")
    assert outside.stdout == "before\nraised ValueError\nafter\n"


def test_what_a_team_can_mend_is_told_in_words_and_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    run(path, "raise Diverged(1, 3, 10.0)")
    text = path.read_text()
    assert "Traceback" not in text
    assert text.count("probably too large: try 0.01") == 1


def test_being_stopped_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "log"
    run(path, "raise Stopped")
    assert "Traceback" not in path.read_text()
    assert path.read_text().splitlines()[-1].startswith("stopped after ")


def test_a_process_that_is_killed_leaves_what_it_had_said(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with pytest.raises(subprocess.CalledProcessError):
        run(path, 'print("last words")\nos.kill(os.getpid(), 9)')
    assert path.read_text().endswith("\nlast words\n")


def test_members_after_each_other_each_get_their_own_and_see_the_same_warnings(
    tmp_path: Path,
) -> None:
    script = f"""
import warnings
from orchestrator.cluster.member_log import member_log
def train(name):
    with member_log({str(tmp_path)!r} + "/" + name, name):
        warnings.warn("beware")
        print("trained", name)
for name in ("a", "b"):
    train(name)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    for name in ("a", "b"):
        text = (tmp_path / name).read_text()
        assert text.count("UserWarning: beware") == 1
        assert f"trained {name}\n" in text


def test_a_chatty_member_is_cut_off_and_its_end_is_still_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    outside = run(
        path,
        'for number in range(20000): print(f"chatter {number:06}")\nint("five")',
        more=", limit_bytes=50_000",
    )
    text = path.read_text()
    assert len(text) < 52_000
    assert "chatter 002000\n" in text
    assert "chatter 019999" not in text
    assert text.count("\n[50000 bytes; the rest of what is printed is left out]\n") == 1
    assert "ValueError: invalid literal" in text.splitlines()[-1]
    assert outside.stdout == "before\nraised ValueError\nafter\n"


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(1000):
    print("more than fits")
    print("more than fits", file=sys.stderr)
log.say("and more")
"""


def test_a_full_disk_cuts_the_log_and_not_the_training(tmp_path: Path) -> None:
    path = tmp_path / "log"
    outside = run(path, FULL)
    assert "raised" not in outside.stdout
    assert path.stat().st_size == 1000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_without_room_is_written_to_in_vain() -> None:
    outside = run(Path("/dev/full"), 'print("lost")\nlog.say("lost as well")')
    assert outside.stdout == "before\nafter\n"


def test_a_folder_that_cannot_be_made_leaves_the_outputs_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outside = run(tmp_path / "file" / "log", 'print("heard elsewhere")\nlog.say("unheard")')
    assert outside.stdout == "before\nheard elsewhere\nafter\n"


def test_an_epoch_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with member_log(str(path), "attempt 2") as log:
        log.epoch(REPORT, epochs=20)
    line = "epoch 3/20  loss 1.930  accuracy 31.2 %  validation 35.1 %  0.8 s"
    assert path.read_text().splitlines()[1] == line


def test_nothing_is_written_without_a_path() -> None:
    before = os.fstat(1)
    with member_log(None, "nothing") as log:
        log.say("nothing")
        assert os.fstat(1) == before
