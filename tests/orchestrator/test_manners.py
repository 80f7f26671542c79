"""How everything that is printed behaves: tables fit, colours and bars only where they belong."""

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.admission.cohort import CohortSpec, Retry
from orchestrator.console import print_error, print_note, print_table
from orchestrator.measuring.balance import Balance, Row
from orchestrator.measuring.balance_table import NUMBERS, table
from orchestrator.phases import Blame, Reason
from orchestrator.settings import Settings
from orchestrator.state import Fault, MemberKey
from orchestrator.store import Store
from orchestrator.terminal.live import SUMMARY_EVERY_S, LiveView
from orchestrator.terminal.progress_bars import SAY_EVERY_S, draws, progress, time_left, waiting
from orchestrator.widths import column_widths
from tests.conftest import write_photos
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl
from tests.orchestrator.screens import lines_of
from tests.orchestrator.states import every_state

LONGEST = "c" * 63
TEAMS = [f"{'t' * 60}-{number:02}" for number in range(60)]
WHY = f"{'x' * 200} {'because ' * 30}"


@pytest.fixture
def crowd(home: Path) -> Iterator[Store]:
    """Sixty teams with the longest names, and one that failed for a long reason."""
    store = Store(Settings().store_url)
    now = time.time()
    submit(store, *[new_job(team, 5, 20) for team in TEAMS], at=now - 90, name=LONGEST)
    holder = "host-with-a-quite-long-name.example.org:123456"
    ledger = store.acquire(LONGEST, holder, now - 90, 1e9)
    ledger.tell_slots(8)
    key = MemberKey(store.jobs(LONGEST)[0].id, 0)
    ledger.start(key, "slot-0", "node-0123456789abcdef", now - 80)
    ledger.fail(key, 1, Fault(Reason.DIVERGED, WHY, Blame.TEAM), Retry(), now - 70)
    yield store
    store.close()


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize(
    "words", [["get", "jobs"], ["get", "cohorts"], ["get", "events"], ["shop"]]
)
def test_tables_fit(
    crowd: Store, words: list[str], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = gamectl(*words)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 60])
def test_tables_of_a_job_fit(crowd: Store, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = gamectl("describe", "job", TEAMS[0]).stdout.splitlines()
    tables = lines[lines.index("Members (5 of 5 must be trained):") : lines.index("Loadout:")]
    assert max(map(len, tables)) <= width


@pytest.mark.parametrize("width", [80, 60])
def test_tables_of_images_fit(tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    root = write_photos(tmp_path / "photos", num_training=3, num_test=1)
    for part in ("training", "validation"):
        (root / part / "n0").rename(root / part / LONGEST)
    shutil.copy(root / "training" / LONGEST / "0.png", root / "training" / "n1" / f"{WHY[:99]}.png")
    (root / "validation" / LONGEST / f"{'b' * 99}.png").write_bytes(b"")
    done = gamectl("data", "check", root)
    assert done.exit_code == 0, done.output
    assert "exact" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 60])
def test_the_table_of_worths_fits(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = tuple(
        Row(f"{'t' * 40}-without-ensemble-enchanter", 99.5, (0.9, 0.8), 0.85, 0.07, -12.3, 4.5, 0.5)
        for _ in range(3)
    )
    columns, cells = table(Balance(LONGEST, 3, "base", 272, 0, rows))
    print_table(columns, cells, right=NUMBERS)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= width


def test_a_long_name_folds_no_short_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    store = Store(Settings().store_url)
    every_state(store, time.time() - 100)
    store.close()
    lines = gamectl("get", "jobs").stdout.splitlines()
    for name in ("howling-pixels", "banana-republic", "swing-state"):
        assert any(line.startswith(f"{name} ") for line in lines)
    assert any("DeadlineExceeded" in line for line in lines)


@pytest.mark.parametrize("room", [120, 80, 40, 12])
def test_text_is_folded_before_names_and_numbers(room: int) -> None:
    rows = [["team", "val", "message"], ["apes", "58.4%", "it " * 40], ["a" * 63, "1.0%", "y" * 90]]
    widths = column_widths(rows, [False, True, False], room)
    assert sum(widths) + 4 <= max(room, 7)
    if room >= 40:
        assert widths[1] == 5
        assert widths[0] >= 4
        assert widths[2] >= 10


def test_a_column_of_names_may_have_no_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["", "yours"], [["batchSize", 8]], right=["yours"])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["yours"],
        ["batchSize", "8"],
    ]


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [], right=["b"])
    assert capsys.readouterr().out.split() == ["a", "b"]


# --- colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_in_a_terminal(variables: dict[str, str], coloured: bool) -> None:
    shown = in_terminal("from orchestrator.console import coloured; print(coloured('a', 'red'))",
                        variables)  # fmt: skip
    assert ("\x1b[31m" in shown) == coloured


@pytest.mark.parametrize(("value", "coloured"), [(None, False), ("1", True), ("", False)])
def test_colours_in_a_pipe(
    value: str | None, coloured: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv("FORCE_COLOR", value)
    command = [sys.executable, "-m", "orchestrator", "shop"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert ("\x1b[" in done.stdout) == coloured


def in_terminal(code: str, variables: dict[str, str]) -> str:
    """What a piece of Python shows in a real terminal."""
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm"} | variables
    subprocess.run([sys.executable, "-c", code], env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    return shown


# --- progress -------------------------------------------------------------------------------------


class Clock:
    """A time that only passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_long_step_says_now_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress("decoding the images", clock) as show:
        for done in range(1, 5):
            show(done, 4)
            clock.now += SAY_EVERY_S / 2
    assert capsys.readouterr().err.splitlines() == [
        "decoding the images: 4",
        "decoding the images: 3 of 4, 5s left",
    ]


@pytest.mark.parametrize(
    ("took_s", "usual_s", "done", "said"),
    [
        (2, 5, 0, "about 3s left"),
        (6, 5, 0, "longer than the usual 5s"),
        (6, None, 0, ""),
        (6, 5, 3, "3 of 12, 18s left"),
    ],
)
def test_of_a_wait_is_said_what_is_left(
    took_s: float, usual_s: float | None, done: int, said: str
) -> None:
    assert time_left(took_s, usual_s, done, 12) == said


def test_what_is_left_grows_no_longer_while_nothing_is_done() -> None:
    since = [time_left(took_s, 5, 2, 4, done_s=6.0) for took_s in (6, 8, 12, 13)]
    assert since == ["2 of 4, 6s left", "2 of 4, 4s left", "2 of 4, 0s left", "2 of 4"]


def test_a_short_wait_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("starting Ray", 5):
        pass
    assert capsys.readouterr().err == ""


def test_a_wait_is_drawn_in_a_terminal_and_gone_afterwards() -> None:
    code = (
        "from orchestrator.terminal.progress_bars import waiting\n"
        "with waiting('starting Ray', 5): pass\n"
        "print('done')"
    )
    shown = in_terminal(code, {})
    assert "starting Ray" in shown
    assert "about 5s left" in shown
    assert in_terminal(code, {"TERM": "dumb"}).split() == ["done"]


def test_nothing_is_drawn_into_a_pipe_even_with_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "pipe").open("w") as file:
        console = Console(file=file)
        assert console.is_terminal
        assert not draws(console)


def test_a_cohort_in_a_pipe_is_summed_up_now_and_then(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(store, new_job("apes"), new_job("owls"))
    clock = Clock()
    with LiveView(CohortSpec(), 2, clock) as view:
        for _ in range(4):
            view.show(store.jobs("small"))
            clock.now += SUMMARY_EVERY_S / 2
    said = lines_of(capsys.readouterr().err)
    assert said == ["0 of 2 jobs ended, 0 of 2 slots busy"]


def test_a_file_name_in_a_message_is_not_obeyed_by_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_note("two lines:\n  \x1b]0;title\a.png ä")
    print_error("\r\udc80: gone")
    expected = "two lines:\n  \\x1b]0;title\\x07.png ä\nerror: \\r\\udc80: gone\n"
    assert capsys.readouterr().err == expected
