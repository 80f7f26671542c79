"""`gamectl logs`: a member's own output, whole and while it grows."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.artifacts import Artifacts
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.terminal.follow import MemberTail, Tail
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl
from tests.orchestrator.states import DIVERGED, SLOT_LOST, Game


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The store that the commands find."""
    store = Store(Settings().store_url)
    yield store
    store.close()


@pytest.fixture
def game(store: Store) -> Game:
    """A job with one member and one with three, nobody begun."""
    submit(store, new_job("apes"), new_job("trio", 3), at=time.time() - 100)
    return Game(store, time.time() - 100)


def write(game: Game, team: str, text: str | bytes, index: int = 0) -> Path:
    """Adds to the log of a member's newest attempt."""
    job = game.job(team)
    attempt = job.members[index].attempt
    path = Artifacts(Settings().artifacts).log_path(job, index, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path


# --- whole ----------------------------------------------------------------------------------------


def test_the_newest_attempt_is_shown_and_older_ones_when_asked_for(game: Game) -> None:
    for number, at_s in ((1, 10), (2, 30)):
        game.start("apes", at_s=at_s)
        write(game, "apes", f"attempt {number}\n")
        game.fail("apes", SLOT_LOST, at_s=at_s + 10)
    assert gamectl("logs", "apes").stdout == "attempt 2\n"
    assert gamectl("logs", "apes", "--attempt", 1).stdout == "attempt 1\n"
    missing = gamectl("logs", "apes", "--attempt", 3)
    assert missing.exit_code == 1
    assert "team 'apes' has no attempt 3; there are 1 to 2" in missing.stderr
    # Nor is it waited for, as it may never be.
    assert gamectl("logs", "apes", "--attempt", 3, "--follow").stderr == missing.stderr


def test_the_log_of_an_older_revision_is_shown_when_asked_for(game: Game) -> None:
    game.start("apes", at_s=10)
    write(game, "apes", "the first one\n")
    submit(game.store, new_job("apes", seed=7), at=50.0)
    assert "has no log" in gamectl("logs", "apes").stderr
    assert gamectl("logs", "apes", "--revision", 1).stdout == "the first one\n"
    assert "there are 1 to 2" in gamectl("logs", "apes", "--revision", 3).stderr


def test_of_several_members_the_first_is_shown_and_the_others_are_named(game: Game) -> None:
    for index in range(3):
        game.start("trio", index)
        write(game, "trio", f"member {index}\n", index)
    shown = gamectl("logs", "trio")
    assert (shown.stdout, shown.exit_code) == ("member 0\n", 0)
    assert "member 0 of 3; --member shows another" in shown.stderr
    second = gamectl("logs", "trio", "--member", 1)
    assert (second.stdout, second.stderr) == ("member 1\n", "")
    missing = gamectl("logs", "trio", "--member", 3)
    assert missing.exit_code == 1
    assert "team 'trio' has no member 3; there are 0 to 2" in missing.stderr


def test_what_a_terminal_would_act_on_is_escaped(game: Game) -> None:
    game.start("apes")
    write(game, "apes", b"\x1b]0;owned\x07\x1b[2J\tok \xc3\xa9 \xff\r\n1%\r2%\nno end of line")
    assert gamectl("logs", "apes").stdout == (
        "\\x1b]0;owned\\x07\\x1b[2J\tok é �\n1%\n2%\nno end of line\n"
    )


def test_why_there_is_no_log(game: Game) -> None:
    def said(team: str, *words: object) -> str:
        shown = gamectl("logs", team, *words)
        assert (shown.exit_code, shown.stdout) == (1, "")
        return shown.stderr

    assert "team 'apes' has no log: it waits, position 1" in said("apes")
    game.store.suspend("small", "apes", time.time())
    assert "the job is suspended" in said("apes")
    game.store.cancel("small", "apes", time.time())
    assert "it never started, and is Cancelled" in said("apes")
    game.start("trio", 1)
    path = write(game, "trio", "gone soon\n", 1)
    path.unlink()
    waiting = gamectl("logs", "trio", "--member", 1)
    assert waiting.exit_code == 0
    assert "member 1 of team 'trio' has written nothing yet" in waiting.stderr
    game.fail("trio", DIVERGED, 1)
    assert f"the log of attempt 1 of member 1 of team 'trio' is gone: {path}" in said(
        "trio", "--member", 1
    )
    game.ledger.release()
    submit(game.store, new_job("late"), at=time.time())
    assert "position 1, and no controller is at work" in said("late")
    assert "did you mean 'late'?" in said("lat")


# --- while it grows -------------------------------------------------------------------------------


def test_only_whole_lines_are_given_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    tail = Tail(path)
    assert list(tail.lines(ended=False)) == ["one"]
    with path.open("ab") as file:
        file.write("o\nthré".encode()[:-1])  # in the middle of a character
    assert list(tail.lines(ended=False)) == ["two"]
    with path.open("ab") as file:
        file.write("é".encode()[1:] + b"\r")
    assert list(tail.lines(ended=False)) == []
    with path.open("ab") as file:
        file.write(b"\nfour")
    assert list(tail.lines(ended=False)) == ["thré"]
    with path.open("ab") as file:
        file.write(b"\r")
    assert list(tail.lines(ended=False)) == []
    with path.open("ab") as file:
        file.write(b"five")
    assert list(tail.lines(ended=False)) == ["four"]
    assert list(tail.lines(ended=True)) == ["five"]
    assert list(tail.lines(ended=True)) == []


def test_following_what_is_not_there_says_why(game: Game) -> None:
    game.start("apes", at_s=10)
    path = write(game, "apes", "gone\n")
    game.fail("apes", DIVERGED, at_s=20)
    path.unlink()
    done = gamectl("logs", "apes", "--follow")
    assert done.exit_code == 1
    assert "the log of attempt 1 of team 'apes' is gone" in done.stderr
    game.store.cancel("small", "trio", game.began_at + 30)
    done = gamectl("logs", "trio", "--follow")
    assert done.exit_code == 1
    assert "member 0 of team 'trio' has no log: it never started, and is Cancelled" in done.stderr


def test_following_goes_on_with_the_next_attempt(game: Game) -> None:
    tail = MemberTail(Artifacts(Settings().artifacts), 0)

    def new() -> list[str]:
        return list(tail.lines(game.job("apes")))

    assert new() == []
    game.start("apes")
    assert new() == []  # no file yet
    write(game, "apes", "first\nhalf a li")
    assert new() == ["first"]
    write(game, "apes", "ne\n")
    before = game.job("apes")
    game.fail("apes", SLOT_LOST)
    write(game, "apes", "lost")
    game.start("apes", at_s=30)
    write(game, "apes", "second attempt\n")
    assert list(tail.lines(before)) == ["half a line"]
    assert not tail.done(before)
    assert new() == ["lost", "second attempt"]
    game.fail("apes", DIVERGED, at_s=40)
    assert new() == []
    assert tail.done(game.job("apes"))


def test_one_attempt_is_followed_to_its_own_end(game: Game) -> None:
    game.start("apes")
    tail = MemberTail(Artifacts(Settings().artifacts), 0, attempt=1)
    write(game, "apes", "first\n")
    assert list(tail.lines(game.job("apes"))) == ["first"]
    assert not tail.done(game.job("apes"))
    game.fail("apes", SLOT_LOST)
    game.start("apes", at_s=30)
    write(game, "apes", "second\n")
    assert list(tail.lines(game.job("apes"))) == []
    assert tail.done(game.job("apes"))


def test_following_all_members_names_each_and_ends_with_them(game: Game) -> None:
    for index in range(3):
        game.start("trio", index)
        write(game, "trio", f"I am {index}\n", index)
    for index in range(3):
        game.fail("trio", DIVERGED, index)
    shown = gamectl("logs", "trio", "--follow")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [f"member {index} | I am {index}" for index in range(3)]
    alone = gamectl("logs", "trio", "--follow", "--member", 2)
    assert alone.stdout == "I am 2\n"


def test_ctrl_c_ends_following_quietly(game: Game) -> None:
    game.start("trio", 0)
    write(game, "trio", "hello\n")
    code = "from orchestrator.cli.logs import command; command()"
    following = subprocess.Popen(
        [sys.executable, "-c", code, "trio", "-f"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    try:
        assert following.stdout is not None
        assert following.stdout.readline() == "member 0 | hello\n"
        write(game, "trio", "more\n")
        assert following.stdout.readline() == "member 0 | more\n"
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=30)
    finally:
        following.kill()
    assert following.returncode == 0
    assert err == "".join(
        f"member {index} of team 'trio' has no log yet: it waits for a slot\n" for index in (1, 2)
    )
