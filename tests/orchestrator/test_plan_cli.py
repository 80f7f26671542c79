"""`gamectl plan`: what it predicts, what it refuses, and that it leaves nothing behind."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.drawn_monkeys import CLASS_NAMES, TRAINING_COUNTS
from jobs.plan import TeacherSpec
from orchestrator.admission.files import read_paths
from orchestrator.admission.member_plans import member_plans
from orchestrator.cli.plan import command
from orchestrator.cli.validate import command as validate
from orchestrator.forecasting.capacity import Machine
from orchestrator.forecasting.costs import kind, memory_bytes, work
from orchestrator.forecasting.planning import plan_cohort
from orchestrator.forecasting.speeds import Speeds
from orchestrator.state import MemberKey
from orchestrator.store import Store
from tests.orchestrator.cohorts import TRAINED, epoch, new_job, start, submit

LOADOUTS = Path(__file__).parents[2] / "loadouts"
DEMO, REFUSED = LOADOUTS / "demo", LOADOUTS / "refused"
SLOWNESS = 4.0
"""Seconds per reference second of the members in `measured_home`."""

WriteCohort = Callable[..., Path]


def plan(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def read(*words: object, exit_code: int = 0) -> Any:
    result = plan(*words, "-o", "json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def measured_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which a member was trained: an epoch of 1 s that 0.25 s were expected of."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    home.mkdir()
    store = Store(f"sqlite:///{home / 'store.db'}")
    submit(store, new_job("old", work=2 / SLOWNESS), name="before")
    job_id = store.jobs("before")[0].id
    key, ledger = MemberKey(job_id, 0), store.acquire("before", "host:1", 100.0, 30.0)
    attempt = start(ledger, key)
    ledger.record_epochs([(key, attempt, epoch(n), 101.0 + n) for n in (1, 2)])
    ledger.succeed(key, attempt, TRAINED, 104.0)
    ledger.release()
    store.close()
    return home


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's files, for a machine that need not have a sandbox for the team with code."""
    folder = shutil.copytree(DEMO, tmp_path_factory.mktemp("loadouts") / "demo")
    rules = folder / "cohort.yaml"
    rules.write_text(f"{rules.read_text()}  customIsolation: process\n")
    return folder


@pytest.mark.usefixtures("measured_home")
def test_slot_minutes_are_the_works_times_the_measured_slowness(demo: Path) -> None:
    result = plan(demo, "-o", "json")
    assert result.stderr == "speeds: as measured on 1 member trained before\n"
    document = json.loads(result.stdout)
    assert document["refused"] == []
    reading = read_paths([demo])
    for file, job in zip((f for f in reading.files if f.loadout), document["jobs"], strict=True):
        assert file.loadout is not None
        plans = member_plans(file.loadout, reading.cohort, tuple(CLASS_NAMES))
        num_images = sum(TRAINING_COUNTS)
        assert (job["team"], job["path"]) == (file.loadout.team, file.path)
        assert [m["kind"] for m in job["members"]] == [kind(p) for p in plans]
        assert [m["memory_bytes"] for m in job["members"]] == [
            memory_bytes(p, num_images, reading.cohort.spec.sandbox_rules) for p in plans
        ]
        seconds = [SLOWNESS * work(p, num_images) for p in plans]
        assert [m["slot_minutes"] * 60 for m in job["members"]] == pytest.approx(seconds)
        assert job["slot_minutes"] * 60 == pytest.approx(sum(seconds))


@pytest.mark.usefixtures("measured_home")
def test_more_cpus_finish_sooner_with_the_same_slot_minutes(demo: Path) -> None:
    one, four = (read(demo, "--cpus", cpus) for cpus in (1, 4))
    assert (one["slots"], four["slots"]) == (1, 4)
    assert one["slot_minutes"] == pytest.approx(four["slot_minutes"])
    assert one["finish_minutes"] == pytest.approx(one["slot_minutes"])
    assert four["slot_minutes"] / 4 <= four["finish_minutes"] < one["finish_minutes"] / 2
    for document in (one, four):
        finishes = [job["finish_minutes"] for job in document["jobs"]]
        assert document["finish_minutes"] == max(finishes)
    assert four["memory_bytes"] > one["memory_bytes"] + 3 * 2**28


@pytest.mark.usefixtures("measured_home")
def test_there_are_no_more_slots_than_members(demo: Path) -> None:
    assert read(demo, "--cpus", 500)["slots"] == sum(
        len(job["members"]) for job in read(demo)["jobs"]
    )


@pytest.mark.usefixtures("measured_home")
def test_the_table_is_for_people_and_fits_80_columns(demo: Path) -> None:
    result = plan(demo, "--cpus", 2)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["team", "members", "slot-min", "finish", "(min)", "memory/slot"]
    assert all(len(line) <= 80 for line in lines)
    row = next(line.split() for line in lines if line.startswith("three-wise-monkeys"))
    assert row[1] == "3"
    assert row[-1] == "MiB"
    assert lines[-4] == "slots: 2, each with 1 CPU"
    assert lines[-3].endswith(" slot-minutes")
    assert lines[-2].startswith("finish: after ")
    assert lines[-2].endswith(" if begun now; 15 s of it for starting and ending")
    assert re.match(r"finish: after \d+m\d\ds, at ", lines[-2])
    assert "at the peak, of" in lines[-1]


@pytest.mark.usefixtures("measured_home")
def test_what_validate_refuses_is_refused_with_the_same_words() -> None:
    paths = [str(REFUSED / "no-effect.yaml"), str(REFUSED / "over-budget.yaml")]
    result = plan(*paths)
    assert result.exit_code == 1
    validated = CliRunner().invoke(validate, paths).stdout.splitlines()
    assert result.stdout.splitlines() == [line for line in validated if "  ok  " not in line]


@pytest.mark.usefixtures("measured_home")
def test_a_cohort_without_loadouts_and_files_that_were_not_read_are_told(
    write_cohort: WriteCohort,
) -> None:
    folder = write_cohort({"apes": "epochs: 1"})
    (folder / "apes.yaml").rename(folder / "apes.txt")
    done = plan(str(folder / "cohort.yaml"))
    assert "no loadout among these files" in done.stderr
    assert (
        f"not read: {folder / 'apes.txt'}; end a file's name in .yaml" in plan(str(folder)).stderr
    )


@pytest.mark.usefixtures("measured_home")
def test_the_good_ones_are_planned_beside_those_that_are_refused(
    write_cohort: WriteCohort,
) -> None:
    good = "learningRate: 0.01\nbatchSize: 8\nepochs: 2"
    folder = write_cohort({"good": good, "bad": good.replace("2", "9999")})
    document = read(folder, exit_code=1)
    assert [job["team"] for job in document["jobs"]] == ["good"]
    assert [file["team"] for file in document["refused"]] == ["bad"]
    problem = document["refused"][0]["problems"][0]
    assert (problem["code"], problem["line"]) == ("over-limit", 7)


@pytest.mark.usefixtures("measured_home")
def test_a_member_that_never_fits_is_refused_by_the_name_of_the_resource(
    write_cohort: WriteCohort,
) -> None:
    folder = write_cohort(
        {"team": "learningRate: 0.01\nbatchSize: 8\nepochs: 2"}, spec="  resources: {cpus: 4}\n"
    )
    assert read(folder, "--cpus", 4)["slots"] == 1
    result = plan(folder, "--cpus", 3)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{folder}/team.yaml:4:1  does-not-fit  a member asks for 4 CPUs and the largest node has "
        "3: lower resources.cpus in the cohort's file, or join a larger cluster"
    ]


@pytest.mark.usefixtures("measured_home")
def test_a_job_that_its_deadline_would_end_is_told(write_cohort: WriteCohort) -> None:
    rules = "  limits: {epochs: 10000, activeDeadlineSeconds: 600}\n"
    five = "epochs: 400\npurchases: [{item: ensemble-enchanter, members: [{},{},{},{},{}]}]"
    folder = write_cohort({"long": "epochs: 10000", "a": "epochs: 1", "five": five}, spec=rules)
    told = [line for line in plan(folder).stderr.splitlines() if "activeDeadlineSeconds" in line]
    assert told[0].startswith("five: its 5 members take turns for about ")
    assert re.match(r"long: a member takes .* ends a job 10\.0 min after its start", told[1])


def test_a_network_that_is_too_large_for_the_memory_is_left_out_of_the_totals() -> None:
    reading = read_paths([DEMO])
    files = [file for file in reading.files if file.loadout is not None]
    machine = Machine(cpus=2, gpus=0, memory_bytes=1 << 20)
    teacher = TeacherSpec(sha256="")
    planned = plan_cohort(
        files, reading.cohort, tuple(CLASS_NAMES), 1000, machine, Speeds(), teacher
    )
    assert [misfit.file for misfit in planned.misfits] == files
    assert all("of memory" in misfit.reason for misfit in planned.misfits)
    assert (planned.jobs, planned.num_slots, planned.slot_seconds) == ((), 0, 0)


@pytest.mark.usefixtures("measured_home")
def test_a_broken_cohort_file_stops_everything(write_cohort: WriteCohort) -> None:
    folder = write_cohort({"team": "epochs: 2"}, spec="  budgte: 100\n")
    result = plan(folder)
    assert result.stdout == ""
    assert "unknown key 'budgte'" in result.stderr
    assert "the cohort's file is refused" in str(result.exception)


@pytest.mark.usefixtures("measured_home")
def test_other_data_is_counted_and_not_decoded(photos: Path, measured_home: Path) -> None:
    file = DEMO / "dizzy-macaques.yaml"
    drawn, small = read(file), read(file, "--data", photos)
    assert small["slot_minutes"] < drawn["slot_minutes"] / 5
    assert [path.name for path in measured_home.iterdir() if path.is_dir()] == []


@pytest.mark.usefixtures("measured_home")
def test_a_loadout_that_does_not_fit_the_data_is_refused(photos: Path, demo: Path) -> None:
    document = read(demo, "--data", photos, exit_code=1)
    (refused,) = document["refused"]
    assert (refused["team"], refused["problems"][0]["code"]) == ("teachers-pets", "unknown-class")
    assert len(document["jobs"]) == len(read(demo)["jobs"]) - 1


@pytest.mark.usefixtures("measured_home")
def test_data_that_cannot_be_submitted_cannot_be_planned(photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    gone = next((folder / "validation").iterdir())
    shutil.rmtree(gone)
    result = plan(DEMO / "dizzy-macaques.yaml", "--data", folder)
    assert result.exit_code == 1
    assert f"class {gone.name} is missing in validation/" in str(result.exception)


@pytest.mark.usefixtures("measured_home")
def test_rules_are_told_only_where_something_was_planned_under_them(tmp_path: Path) -> None:
    result = plan(tmp_path / "gone")
    assert result.exit_code == 1
    assert "default rules" not in result.stderr
    file = shutil.copy(DEMO / "dizzy-macaques.yaml", tmp_path)
    assert "planned under the default rules: no cohort.yaml beside it" in plan(file).stderr


@pytest.mark.usefixtures("measured_home")
def test_a_cluster_elsewhere_is_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    assert "figures are for this machine; RAY_ADDRESS" in plan(DEMO).stderr


def test_without_any_measurement_a_benchmark_gives_the_speed(home: Path) -> None:
    result = plan(DEMO / "dizzy-macaques.yaml")
    assert result.exit_code == 0
    assert "speeds: by a short benchmark, " in result.stderr
    assert not home.exists()


def test_ray_and_mlflow_are_not_imported(measured_home: Path, demo: Path) -> None:
    program = (
        "import sys; from click.testing import CliRunner; from orchestrator.cli.plan import "
        f"command; r = CliRunner().invoke(command, [{str(demo)!r}]); assert not r.exit_code; "
        "print(sorted({'ray', 'mlflow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
