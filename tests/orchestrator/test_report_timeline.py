"""The report's timeline: bars on slots, pauses cut short."""

from dataclasses import replace

from orchestrator.report.timeline import WIDTH, Run, timeline
from orchestrator.state import Attempt, MemberKey


def run(slot: int, began_s: float, ended_s: float | None, team: str = "apes") -> Run:
    attempt = Attempt(
        MemberKey(1, 0), 1, f"slot-{slot}", "node", began_s, ended_s, "Completed", "", None, 5
    )
    return Run(attempt, team, 0, 1)


def test_a_night_without_work_takes_no_room() -> None:
    day = 24 * 3600.0
    line = timeline([run(0, 0, 100), run(1, 50, 150), run(0, day, day + 150)], now=2 * day)
    assert line is not None
    assert line.took == "5m00s"
    assert [pause.label for pause in line.pauses] == ["23h57m"]
    first, last = line.rows[0].bars
    assert first.x + first.width < line.pauses[0].x < last.x
    assert abs(last.width / first.width - 1.5) < 0.05
    assert last.x + last.width <= WIDTH
    assert timeline([], now=0) is None


def test_what_still_trains_reaches_to_now() -> None:
    line = timeline([run(0, 0, None), run(10, 0, 50), run(2, 0, 100)], now=100)
    assert line is not None
    assert [row.label for row in line.rows] == ["slot-0", "slot-2", "slot-10"]
    (going_on,), (half,), (whole,) = (line.rows[0].bars, line.rows[2].bars, line.rows[1].bars)
    assert going_on.width == whole.width > half.width
    assert (going_on.ended, going_on.lost) == ("still training", False)


def test_slots_of_one_controller_after_the_other_share_their_rows() -> None:
    later = [run(0, 200, 300), run(1, 210, 300)]
    anew = [replace(r, attempt=replace(r.attempt, node="of another Ray")) for r in later]
    line = timeline([run(0, 0, 100), run(1, 0, 150), *anew, run(2, 160, 190)], now=300)
    assert line is not None
    assert [(row.label, len(row.bars)) for row in line.rows] == [("slot 1", 3), ("slot 2", 2)]


def test_nodes_are_named_where_there_are_several() -> None:
    other = run(0, 0, 10)
    other = replace(other, attempt=replace(other.attempt, node="b"))
    line = timeline([run(0, 0, 10), other], now=10)
    assert line is not None
    assert [row.label for row in line.rows] == ["slot-0, b", "slot-0, node"]
    other = replace(other, attempt=replace(other.attempt, node="0123456789ab"))
    line = timeline([run(0, 0, 10), other], now=10)
    assert line is not None
    assert [row.label for row in line.rows] == ["slot-0, 0123", "slot-0, node"]
