"""`gamectl submit` beside a controller that is at work: what it writes, says and waits for."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control import attend
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.settings import Settings
from orchestrator.state import Fault, Job, MemberKey, newest_revisions
from orchestrator.store import JobResult, Ledger, Store, TrainedWeights
from orchestrator.terminal.lookup import controller_of
from tests.orchestrator.cohorts import controller_elsewhere
from tests.orchestrator.commands import gamectl, read_json

WriteCohort = Callable[..., Path]
BASE = "epochs: 3\nlearningRate: 0.05\n"


@pytest.fixture
def game(home: Path) -> Iterator[Store]:
    """The store that the commands use."""
    store = Store(Settings().store_url)
    yield store
    store.close()


@pytest.fixture
def controller(game: Store) -> Ledger:
    """A controller elsewhere that is at work on the cohort, although nothing is submitted yet."""
    return controller_elsewhere(game)


def newest() -> dict[str, tuple[int, str]]:
    jobs: Any = read_json("get", "jobs", "--cohort", "small")["jobs"]
    return {job["team"]: (job["revision"], job["phase"]) for job in jobs}


def test_a_submission_is_handed_to_the_controller_at_work(
    game: Store, controller: Ledger, write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort({"apes": BASE})
    done = gamectl("submit", folder, "--data", photos, "--detach", "--cpus", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "cohort small: 1 job submitted" in done.stderr
    assert "controller elsewhere:1 is at work, with the CPUs it was started with" in done.stderr
    assert "watch with: gamectl get jobs --watch --cohort small" in done.stderr
    assert not (home / "controllers").exists()
    assert newest() == {"apes": (1, "Pending")}
    assert not controller.release_if_done()  # it sees what was submitted


def test_while_it_runs_loadouts_are_revised_and_teams_join(
    game: Store, controller: Ledger, write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"apes": BASE, "owls": BASE})
    words = ["submit", folder, "--data", photos, "--detach"]
    assert gamectl(*words).exit_code == 0
    apes = game.jobs("small")[0]
    controller.start(MemberKey(apes.id, 0), "slot-0", "node", time.time())
    write_cohort({"apes": BASE.replace("0.05", "0.02"), "late": BASE})
    done = gamectl(*words)
    assert "2 jobs submitted, 1 unchanged" in done.stderr
    assert "no file" not in done.stderr
    assert "new revisions of: apes" in done.stderr
    assert newest() == {"apes": (2, "Pending"), "owls": (1, "Pending"), "late": (1, "Pending")}
    older = game.job(apes.id)
    assert (older.phase, older.members[0].phase) == (Phase.SUPERSEDED, Phase.RUNNING)


def test_what_was_said_of_a_team_before_is_told(
    game: Store, controller: Ledger, write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"apes": BASE, "owls": BASE})
    words = ["submit", folder, "--data", photos, "--detach"]
    gamectl(*words)
    game.withdraw("small", "apes", time.time())
    game.suspend("small", "owls", time.time())
    write_cohort({"owls": BASE.replace("0.05", "0.02")})
    told = gamectl(*words).stderr
    assert "apes was withdrawn and is in again; to keep it out, take its file out" in told
    assert "then `gamectl withdraw apes --cohort small`" in told
    assert "owls stays suspended: gamectl resume owls --cohort small" in told
    assert "new revisions of: owls\n" in told
    again = gamectl(*words).stderr
    assert "withdrawn" not in again
    assert "suspended" not in again


def test_teams_without_a_file_are_told_where_a_folder_is_submitted(
    game: Store, controller: Ledger, write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"apes": BASE, "owls": BASE})
    words = ["--data", photos, "--detach"]
    gamectl("submit", folder, *words)
    (folder / "owls.yaml").unlink()
    told = "no file in the folder for owls: its job stays in the cohort"
    assert told in gamectl("submit", folder, *words).stderr
    late = gamectl("submit", folder / "cohort.yaml", folder / "apes.yaml", *words)
    assert (late.exit_code, "no file" in late.stderr) == (0, False)


def test_a_copied_folder_does_not_land_in_the_cohort_that_it_was_copied_from(
    game: Store, controller: Ledger, write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({f"team-{n}": BASE for n in range(7)})
    words = ["--data", photos, "--detach"]
    assert gamectl("plan", folder, "--data", photos).stderr.count("is there already") == 0
    gamectl("submit", folder, *words)
    for file in folder.glob("team-*.yaml"):
        file.unlink()
    write_cohort({"late": BASE})
    refused = gamectl("submit", folder, *words)
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[-1] == (
        "error: nothing was submitted: cohort 'small' is there already, and none of its teams "
        "(team-0, team-1, team-2, team-3, team-4, and 2 more) has a file in the folder. Give this "
        f"one another name (metadata.name in {folder}/cohort.yaml); to add its teams to the cohort "
        "that is there, name their files instead of the folder; who is no longer wanted there is "
        "taken out with `gamectl withdraw`"
    )
    assert "late" not in newest()
    planned = gamectl("plan", folder, "--data", photos)
    assert planned.exit_code == 1
    assert "submit refuses these files: cohort 'small' is there already" in planned.stderr
    assert gamectl("submit", *sorted(folder.glob("*.yaml")), *words).exit_code == 0
    assert newest()["late"] == (1, "Pending")
    assert "is there already" not in gamectl("plan", folder, "--data", photos).stderr
    assert gamectl("submit", folder, *words).exit_code == 0


def test_images_that_data_named_are_not_forgotten(
    controller: Ledger, write_cohort: WriteCohort, photos: Path, tmp_path: Path
) -> None:
    folder = write_cohort({"apes": BASE}, spec=f"  data: {{source: {photos.name}}}\n")
    other = shutil.copytree(photos, folder / photos.name)  # of the same name
    next((other / "training").glob("*/*.png")).unlink()
    assert gamectl("submit", folder, "--data", photos, "--detach").exit_code == 0
    for named in (folder, folder / "apes.yaml"):
        refused = gamectl("submit", named, "--detach")
        assert refused.exit_code == 1
        assert f"trains on the images of {photos}, and without --data these files" in refused.stderr
        assert f"Add --data {photos}, name the folder that is meant" in refused.stderr
    assert newest() == {"apes": (1, "Pending")}
    assert gamectl("submit", folder, "--data", photos, "--detach").exit_code == 0
    assert gamectl("submit", folder, "--data", other, "--detach").exit_code == 0
    assert newest() == {"apes": (2, "Pending")}


def test_a_folder_that_was_moved_has_its_own_images_still(
    controller: Ledger, write_cohort: WriteCohort, photos: Path, tmp_path: Path
) -> None:
    folder = write_cohort({"apes": BASE}, spec="  data: {source: my/photos}\n")
    shutil.copytree(photos, folder / "my" / "photos")
    assert gamectl("submit", folder, "--detach").exit_code == 0
    moved = folder.rename(tmp_path / "moved")
    next((moved / "my" / "photos" / "training").glob("*/*.png")).unlink()
    done = gamectl("submit", moved, "--detach")
    assert done.exit_code == 0, done.output
    assert newest() == {"apes": (2, "Pending")}


def test_a_cohort_whose_teams_were_all_withdrawn_takes_others(
    game: Store, controller: Ledger, write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"apes": BASE})
    words = ["submit", folder, "--data", photos, "--detach"]
    gamectl(*words)
    game.withdraw("small", "apes", time.time())
    (folder / "apes.yaml").rename(folder / "owls.yaml")
    write_cohort({"owls": BASE})
    assert gamectl(*words).exit_code == 0


@pytest.mark.parametrize(
    ("reason", "blame", "exit_code", "goes_on"),
    [
        (Reason.STORAGE, Blame.CLUSTER, 1, True),
        (Reason.SANDBOX, Blame.CLUSTER, 0, True),  # until somebody has changed the nodes
        (Reason.ERROR, Blame.TEAM, 0, False),
    ],
)
def test_submit_ends_with_1_where_the_cluster_failed_a_job(
    controller: Ledger,
    write_cohort: WriteCohort,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: Reason,
    blame: Blame,
    exit_code: int,
    goes_on: bool,
) -> None:
    def runs(name: str, store: Store, *_: object) -> list[Job]:
        for job in newest_revisions(store.jobs(name)):
            if not job.phase.terminal:
                controller.give_up(job.id, Fault(reason, "as it is", blame), time.time())
        return newest_revisions(store.jobs(name))

    words = ["submit", write_cohort({"apes": BASE}), "--data", photos]
    with monkeypatch.context() as patch:
        patch.setattr(attend, "attend", runs)
        done = gamectl(*words)
    assert done.exit_code == exit_code, done.output
    told = "the cluster's fault, and not theirs: apes; the same submission runs them once more"
    assert (told in done.stderr) is bool(exit_code)
    late = write_cohort({"late": BASE}) / "late.yaml"
    assert gamectl("submit", late, "--data", photos, "--detach").exit_code == 0
    assert newest()["apes"] == (1, "Failed")
    again = gamectl(*words, "--detach").stderr
    assert ("failed by the cluster, and go on from there: apes" in again) is goes_on
    assert ("1 job queued again, 1 unchanged" in again) is goes_on
    assert newest()["apes"] == (1, "Pending" if goes_on else "Failed")


def test_a_place_for_artifacts_that_cannot_be_written_is_named_with_its_variable(
    write_cohort: WriteCohort, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAME_ARTIFACTS", "/proc/x")
    done = gamectl("submit", write_cohort({"apes": BASE}), "--data", photos)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: GAME_ARTIFACTS is /proc/x: /proc cannot be written: ")


def test_a_team_has_so_many_submissions(
    controller: Ledger, write_cohort: WriteCohort, photos: Path
) -> None:
    limit = "  limits: {submissionsPerTeam: 1}\n"
    folder = write_cohort({"apes": BASE, "owls": BASE}, spec=limit)
    words = ["submit", folder, "--data", photos, "--detach"]
    assert gamectl(*words).exit_code == 0
    write_cohort({"apes": BASE.replace("0.05", "0.02"), "late": BASE}, spec=limit)
    refused = gamectl(*words)
    assert refused.exit_code == 1
    assert "team 'apes' has handed in 1 revision, cohort 'small' allows 1" in refused.stderr
    assert newest() == {"apes": (1, "Pending"), "owls": (1, "Pending")}


def test_in_the_foreground_it_watches_the_controller_at_work(
    game: Store, controller: Ledger, write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"apes": BASE, "owls": BASE})
    words = ["submit", folder, "--data", photos]
    assert gamectl(*words, "--detach").exit_code == 0
    apes = game.jobs("small")[0]
    controller.start(MemberKey(apes.id, 0), "slot-0", "node", time.time())
    controller.succeed(MemberKey(apes.id, 0), 1, TrainedWeights("w", "0", "p"), time.time())
    controller.finish(apes.id, JobResult(0.75), time.time())
    game.cancel("small", "owls", time.time())
    done = gamectl(*words)
    assert done.exit_code == 0, done.output
    assert "unchanged, nothing is run twice" in done.stderr
    assert "elsewhere:1 is at work; Ctrl-C ends only the watching" in done.stderr
    assert "apes: Succeeded, validation accuracy 75.0%" in done.stderr
    assert "cohort small: 1 Succeeded, 1 Cancelled" in done.stderr
    assert "next: gamectl score --cohort small" in done.stderr


def test_a_second_controller_is_refused(
    game: Store, controller: Ledger, write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"apes": BASE})
    assert gamectl("submit", folder, "--data", photos, "--detach").exit_code == 0
    refused = gamectl("controller", "--cohort", "small")
    assert refused.exit_code == 1
    assert "another controller (elsewhere:1) is at work on cohort 'small'" in refused.stderr
    assert controller_of(game, "small") == "elsewhere:1"


def test_a_controller_is_for_a_cohort_that_was_submitted(game: Store) -> None:
    assert "nothing was submitted yet" in gamectl("controller").stderr
    assert "no cohort 'smal'" in gamectl("controller", "--cohort", "smal").stderr


def test_nothing_is_stored_where_a_loadout_is_refused(
    write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort({"apes": BASE, "greedy": "epochs: 41\n"})
    refused = gamectl("submit", folder, "--data", photos, "--detach")
    assert refused.exit_code == 1
    assert "so nothing was submitted" in refused.stderr
    assert not home.exists()
