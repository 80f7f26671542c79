"""Watching a cohort: plain lines where stderr is no terminal, a table where it is one."""

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console

from orchestrator import live
from orchestrator.live import LiveView
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Job, MemberKey
from orchestrator.store import Ledger, Store
from tests.orchestrator.cohorts import epoch, new_job, submit


@pytest.fixture
def ledger(store: Store) -> Ledger:
    """Three jobs, of 4 epochs a member; `trio` has three members."""
    submit(
        store,
        new_job("apes", epochs=4),
        new_job("trio", num_members=3, epochs=4),
        new_job("a-team-with-a-very-long-name-that-goes-on-and-on-and-on", epochs=4),
    )
    return store.acquire("small", "test", 100.0, 1e9)


def start(ledger: Ledger, job_id: int, index: int, epochs: int) -> None:
    key = MemberKey(job_id, index)
    ledger.start(key, "slot-0", "node", 101.0)
    ledger.record_epochs([(key, 1, epoch(n), 101.0 + n) for n in range(1, epochs + 1)])


def test_plain_lines_say_each_change_once(
    store: Store, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    with LiveView(2, clock=lambda: 100.0) as view:
        view.show(store.jobs("small"))
        start(ledger, 1, 0, epochs=1)
        start(ledger, 2, 1, epochs=2)
        for _ in range(3):
            view.show(store.jobs("small"))
        ledger.fail(MemberKey(1, 0), 1, Reason.DIVERGED, "loss is nan", Blame.TEAM, 105.0)
        view.show(store.jobs("small"))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(" ", 1)[1] for line in err.splitlines()] == [
        "apes: Running",
        "trio, member 1: Running on slot-0",
        "trio: Running",
        "apes: Failed: member 0: loss is nan",
    ]


def draw(jobs: Sequence[Job], before: Sequence[Job], height: int = 24) -> list[str]:
    """The lines of the live table in a terminal of 80 columns, ten seconds after the start."""
    times = iter([100.0, 110.0, 110.0])
    view = LiveView(2, clock=lambda: next(times))
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True)
    view._console = console
    view._work_at_start = live._work_done(before)
    console.print(view._table(jobs))
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).splitlines()


def test_the_table_shows_what_runs_first_and_how_long_it_takes(
    store: Store, ledger: Ledger
) -> None:
    before = store.jobs("small")
    start(ledger, 2, 0, epochs=4)
    start(ledger, 2, 1, epochs=1)
    lines = draw(store.jobs("small"), before)
    assert lines[1].split() == ["trio", "Running", "4/4", "1/4", "0/4", "50.0%"]
    assert lines[2].split()[:2] == ["apes", "Pending"]
    # 5 of 20 epochs took 10 s.
    assert "0 of 3 jobs done, 2 of 2 slots busy, about 30 s left" in lines
    assert all(len(line) <= 80 for line in lines)


def test_a_low_terminal_keeps_the_summary_in_sight(store: Store, ledger: Ledger) -> None:
    submit(store, *(new_job(f"more-{number}") for number in range(30)), ledger=ledger)
    start(ledger, 1, 0, epochs=1)
    lines = draw(store.jobs("small"), store.jobs("small"), height=12)
    assert len(lines) <= 12
    assert any("... and 27 more" in line for line in lines)
    assert lines[1].split()[0] == "apes"


def test_no_time_left_is_promised_before_there_is_a_speed(store: Store, ledger: Ledger) -> None:
    jobs = store.jobs("small")
    assert "left" not in "".join(draw(jobs, jobs))


def test_an_ended_job_shows_its_own_accuracy(store: Store, ledger: Ledger) -> None:
    from orchestrator.store import JobResult, TrainedWeights

    start(ledger, 1, 0, epochs=4)
    trained = TrainedWeights("w", "0" * 64, "p")
    ledger.succeed(MemberKey(1, 0), 1, trained, 110.0, JobResult(0.875))
    jobs = store.jobs("small")
    assert jobs[0].phase is Phase.SUCCEEDED
    (line,) = [line for line in draw(jobs, jobs) if line.startswith("apes")]
    assert line.split() == ["apes", "Succeeded", "4/4", "87.5%"]
