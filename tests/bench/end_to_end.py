"""A whole cohort beside the notebook's way and beside the bare loop.

In: the real photos in ../shared/data, the drawn monkeys where they are absent. Out: rows for the
cohort's base-network part and its turbo-boosted part, for the overhead of Ray, store and MLflow,
for tracking alone, and for what a second cohort on the same data saves.

A tiny cohort goes first, finds an empty home, and leaves store, image cache and the exports of all
architectures, whose cost is a row of its own. Then twelve teams with 20 members in all
(`e2e_cohort`) are run by `gamectl submit` on two slots; then once more beside `bare_loop`, which
has the same plans: a few seconds the one, a few seconds the other (`turns`), so that a machine that
grows slower or faster favours nobody. All must give the same weights. The notebook's way would take
hours: its rate is measured (`notebook`) three times, between and after them, and scaled to the
cohort's epochs. If it has to be quick, it is four teams with five members, and one epoch.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from jobs.images import DecodedFolder, LabelledImages, decode
from jobs.split import split_images
from orchestrator.settings import Settings
from orchestrator.sources import data_root
from tests.bench.bare_loop import run_bare
from tests.bench.e2e_cohort import (
    FIRST_TEAMS,
    NUM_SLOTS,
    QUICK_FIRST,
    QUICK_TEAMS,
    TEAMS,
    CohortRun,
    Different,
    clean_env,
    run_cohort,
    write_cohort,
)
from tests.bench.e2e_timeline import Timeline, compared
from tests.bench.notebook import NotebookRates, Photo
from tests.bench.rows import Row, at_most, at_most_of, faster, figure, print_rows, skipped
from tests.bench.turns import TURN_S, RunClock, Running, alone, in_turns

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
PHOTOS, FULL_SIZE = SHARED / "monkeys", SHARED / "monkeys-full-size"
SIZE_PX = 64
BESIDE_BARE = 2
PARTS = {"base": False, "boosted": True}
TARGETS = {
    ("base", "full-size"): 30.0,
    ("base", "256-px"): 3.0,
    ("boosted", "full-size"): 14.0,
    ("boosted", "256-px"): 2.0,
}


@dataclass(frozen=True)
class Array:
    """A file of decoded images; another one where it was written again."""

    name: str
    changed_ns: int
    num_images: int


def rows(quick: bool) -> Iterator[Row]:
    """All rows. Raises `Different` where cohort and bare loop give other weights."""
    teams, first_teams, epochs = TEAMS, FIRST_TEAMS, 20
    if quick:
        teams, first_teams, epochs = QUICK_TEAMS, QUICK_FIRST, 1
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        home = folder / "home"
        env, source = clean_env(home), str(PHOTOS) if PHOTOS.is_dir() else "drawn"

        # 1. A first cohort, with everything to be made.
        cohort = write_cohort(folder / "first", "first", first_teams, 1, source)
        first = alone(partial(run_cohort, "first", cohort, home, env))
        settings = Settings(GAME_HOME=home)
        before = _arrays(settings.image_cache)
        decoded = decode(data_root(source, settings), [SIZE_PX], settings.image_cache)
        images = decoded.training(SIZE_PX)
        split = split_images(images.labels, images.groups, first.members[0].plan.data)
        num_training, num_validation = len(split.train), len(split.validation)

        # 2. The cohort, the notebook's rates, the cohort and the bare loop.
        cohort = write_cohort(folder / "cohort", "cohort", teams, epochs, source)
        ours = alone(partial(run_cohort, "cohort", cohort, home, env))
        after = _arrays(settings.image_cache)
        plans = [member.plan for member in ours.members]
        notebooks = NotebookRates(
            _sources(decoded, quick), num_validation / (num_training + num_validation)
        )
        notebooks.warm_up(plans[0])
        notebooks.sample(plans)
        pairs = list[tuple[CohortRun, Timeline]]()
        for turn in range(1 if quick else BESIDE_BARE):
            name = f"beside-{turn}"
            cohort = write_cohort(folder / name, name, teams, epochs, source)
            pair = in_turns(
                partial(run_cohort, name, cohort, home, env),
                partial(_bare, folder / f"bare-{turn}", ours, images, env),
            )
            pairs.append(pair)
            if not quick:
                notebooks.sample(plans)
        cohorts = [ours, *(run for run, _ in pairs)]
        if len({frozenset(each.sha256 for each in run.members) for run in cohorts}) > 1:
            raise Different("the same cohort, run again, has other weights")

    cohorts_s = [run.timeline.makespan_s for run, _ in pairs]
    bares_s = [bare.makespan_s for _, bare in pairs]
    run, bare = pairs[0]
    makespan = at_most_of(
        "cohort's makespan, beside the bare loop",
        statistics.mean(cohorts_s),
        statistics.mean(bares_s),
        "s",
        1.08,
        f"train_member in {NUM_SLOTS} plain processes",
        f"{len(plans)} members, epochs: {epochs}, the same weights; in turns of {TURN_S:.0f} s, "
        f"the cohort {_seconds(cohorts_s)} ({ours.timeline.makespan_s:.1f} s without turns), "
        f"the bare loop {_seconds(bares_s)}; of the first: "
        f"{compared(run.timeline, bare)}; {_processors(run)}",
    )
    of_whole = [*_beside_notebook(cohorts, notebooks, num_training), makespan, _tracking(ours)]
    yield from map(_without_target, of_whole) if quick else of_whole
    yield _exporting(first, len(first_teams))
    yield from _second(first, ours, before, after)


def _without_target(row: Row) -> Row:
    if row.target is None:
        return row
    why = "no target: starting up is most of a cohort of one epoch"
    return replace(row, target=None, met=None, note=f"{row.note}; {why}")


def _bare(
    folder: Path, ours: CohortRun, images: LabelledImages, env: dict[str, str], clock: RunClock
) -> Running[Timeline]:
    """The bare loop's timeline, if its weights are the cohort's."""
    assert isinstance(images.images, np.memmap)
    images_file = Path(str(images.images.filename))
    plans = [member.plan for member in ours.members]
    timeline, hashes = yield from run_bare(
        folder, plans, images, images_file, NUM_SLOTS, env, clock
    )
    different = [
        number
        for number, (member, sha256) in enumerate(zip(ours.members, hashes, strict=True))
        if member.sha256 != sha256
    ]
    if different:
        raise Different(f"cohort and bare loop have other weights in the plans {different}")
    return timeline


def _beside_notebook(
    cohorts: Sequence[CohortRun], notebooks: NotebookRates, num_training: int
) -> Iterator[Row]:
    for part, boosted in PARTS.items():
        plans = [member.plan for member in cohorts[0].members if member.boosted is boosted]
        ours_s = statistics.mean(run.timeline.makespan_s * run.share(boosted) for run in cohorts)
        for source in ("full-size", "256-px"):
            name = f"cohort, {part} part, {source} photos"
            if source not in notebooks.sources:
                yield skipped(name, f"no folder ../shared/data/{FULL_SIZE.name}")
                continue
            theirs_s = notebooks.seconds(source, plans, num_training)
            rate = sum(plan.epochs for plan in plans) * num_training / theirs_s
            yield faster(
                name,
                ours_s,
                theirs_s,
                "s",
                TARGETS[part, source],
                "the notebook's way, 2 threads",
                f"{len(plans)} members; the notebook's rate, {rate:.0f} images/s, was measured on "
                f"{len(notebooks.sources[source])} photos and scaled",
            )


def _tracking(ours: CohortRun) -> Row:
    """What MLflow cost the cohort: its thread's CPU time, with all that it imports.

    Counted as if nothing else could be done meanwhile. As the other CPUs have members to train, the
    makespan is longer by about one CPU's part of it, which the note tells.
    """
    makespan_s = ours.timeline.makespan_s
    thread_s = max((used_s for at_s, used_s in ours.tracking if at_s <= makespan_s), default=0.0)
    in_all_s = max((used_s for _, used_s in ours.tracking), default=0.0)
    share = 100 * thread_s / makespan_s
    return at_most(
        "tracking's share of the cohort's makespan",
        share,
        "%",
        2.0,
        note=f"{thread_s:.2f} s of CPU in its thread until the last job ended, imports included, "
        f"of {makespan_s:.1f} s, architectures known ({share / NUM_SLOTS:.2f} % of what "
        f"{NUM_SLOTS} CPUs have to give); after the last job, models included, "
        f"{in_all_s - thread_s:.2f} s of CPU, and {ours.exited_s - makespan_s:.2f} s until the "
        "command had ended",
    )


def _exporting(first: CohortRun, num_jobs: int) -> Row:
    in_all_s = max((used_s for _, used_s in first.tracking), default=0.0)
    return figure(
        "tracking of a first cohort, in all",
        in_all_s,
        "s",
        note=f"{num_jobs} architectures exported, with what that imports; once a home",
    )


def _second(
    first: CohortRun, second: CohortRun, before: set[Array], after: set[Array]
) -> Iterator[Row]:
    yield at_most(
        "a second cohort on the same data, files decoded",
        float(sum(array.num_images for array in after - before)),
        "files",
        0.0,
        note=f"the first one decoded {sum(array.num_images for array in before)}",
    )
    yield figure(
        "a second cohort, submit to first training",
        second.timeline.first_training_s,
        "s",
        first.timeline.first_training_s,
        "a first one, which makes store, MLflow and image cache",
    )


def _seconds(taken_s: Sequence[float]) -> str:
    return " and ".join(f"{each:.1f}" for each in taken_s) + " s"


def _arrays(cache: Path) -> set[Array]:
    return {
        Array(path.name, path.stat().st_mtime_ns, len(np.load(path, mmap_mode="r")))
        for path in cache.glob("*.npy")
    }


def _sources(decoded: DecodedFolder, quick: bool) -> dict[str, list[Photo]]:
    """Photos for the notebook, by source, in an order that mixes the classes."""
    files = [(file.path, file.label) for file in decoded.folder.training]
    sources = {"256-px": _spread(files, 60 if quick else 200)}
    if FULL_SIZE.is_dir():
        names = decoded.folder.classes
        large = [
            (path, names.index(path.parent.name))
            for path in sorted(FULL_SIZE.rglob("*.jpg"))
            if path.parent.name in names
        ]
        sources["full-size"] = _spread(large, 30 if quick else 100)
    return sources


def _spread(files: Sequence[Photo], number: int) -> list[Photo]:
    """So many of them, from all over; always the same."""
    chosen = np.random.default_rng(0).permutation(len(files))[:number]
    return [files[index] for index in chosen]


def _processors(ours: CohortRun) -> str:
    used = sorted(ours.cpu_s.items(), key=lambda each: -each[1])
    return "CPU seconds of the cohort: " + ", ".join(
        f"{kind} {seconds:.1f}" for kind, seconds in used
    )


if __name__ == "__main__":
    print_rows(rows, "A cohort beside the notebook's way and beside the bare loop.")
