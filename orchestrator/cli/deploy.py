"""`gamectl deploy`: the Kubernetes manifests of a cluster, and of a cohort that is played on it.

In: the name of an overlay, a cohort's folder, and what shall differ. Out: manifests on stdout and
nothing else. Next: `kubectl apply -f -`, which needs no more of this project.
"""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import click

from jobs.places import FILE, is_uri
from orchestrator import console
from orchestrator.admission.files import Reading, read_paths
from orchestrator.cli import completing
from orchestrator.cli.paths import LocalPath
from orchestrator.deployment import LOADOUTS, PHOTOS_FOLDER, CohortFiles, Image, RenderOptions
from orchestrator.errors import Refused
from orchestrator.kustomize import overlays, render
from orchestrator.quota import over_quota

MAX_CONFIG_MAP_BYTES = 1 << 20
MAX_APPLIED_BYTES = 200_000
"""`kubectl apply` copies what it applies, as JSON, into an annotation of 256 KiB at most."""
SCORING = "score"
"""The overlay that trains nothing."""
MOUNTED = (f"{PHOTOS_FOLDER}/", "/artifacts/")
"""Where pods find what their volumes hold."""
KEY = re.compile(r"[-._a-zA-Z0-9]+")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
IMAGE = re.compile(
    r"(?P<name>[a-z0-9][-a-zA-Z0-9._:/]*?)(:(?P<tag>\w[\w.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@click.group("deploy")
def command() -> None:
    """Kubernetes manifests from the folder deploy/ of this checkout."""


def _image(
    ctx: click.Context,  # noqa: ARG001  # click's signature
    param: click.Parameter,  # noqa: ARG001  # click's signature
    value: str | None,
) -> Image | None:
    if value is None:
        return None
    found = IMAGE.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no image; NAME:TAG or NAME@sha256:DIGEST is wanted")
    if found["tag"] in (None, "latest") and found["digest"] is None:
        raise click.BadParameter(
            f"{value!r} may be another image tomorrow; name a tag other than latest, or a digest"
        )
    return Image(found["name"], found["tag"], found["digest"])


def _named(pattern: re.Pattern[str], says: str) -> Callable[..., str | None]:
    """A check of an option that is a name: what the pattern does not match is told with `says`."""

    def check(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        if value is not None and pattern.fullmatch(value) is None:
            raise click.BadParameter(f"{value!r} is no {says}")
        return value

    return check


_namespace = _named(NAMESPACE, "namespace; at most 63 of a-z, 0-9 and -, no - at either end")
_storage_class = _named(DNS_NAME, "name of a storage class: a-z, 0-9, - and .")


@command.command(
    "render",
    epilog="""\b
    Example:
      gamectl deploy render --overlay local
      gamectl deploy render --overlay kueue --cohort loadouts/demo --workers 4
      gamectl deploy render --overlay kueue --priority-class overnight --deadline-hours 12
      gamectl deploy render --overlay score --cohort loadouts/demo | kubectl apply -f -""",
)
@click.option(
    "--overlay",
    metavar="NAME",
    required=True,
    shell_complete=completing.overlays,
    help="A folder in deploy/overlays.",
)
@click.option(
    "--cohort",
    metavar="FOLDER",
    type=LocalPath(),
    help="The files of the cohort that is played (with the overlay score: that is scored).",
)
@click.option(
    "--image", metavar="NAME:TAG", callback=_image, help="The game's image, for every pod."
)
@click.option("--namespace", metavar="NAME", callback=_namespace, help="Where all of it lives.")
@click.option("--workers", type=click.IntRange(0, 10_000), help="CPU workers, at most.")
@click.option("--gpu-workers", type=click.IntRange(0, 10_000), help="GPU workers, at most.")
@click.option(
    "--deadline-hours", type=click.IntRange(1, 1000), help="When the RayJob is ended; 4 as it is."
)
@click.option(
    "--priority-class", metavar="NAME", help="With the overlay kueue: lesson (as it is), overnight."
)
@click.option(
    "--storage-class",
    metavar="NAME",
    callback=_storage_class,
    help="Of the volumes that several nodes write (ReadWriteMany).",
)
@click.option("--publish", is_flag=True, help="With the overlay score: show the scores in MLflow.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def render_command(
    overlay: str,
    cohort: Path | None,
    image: Image | None,
    namespace: str | None,
    workers: int | None,
    gpu_workers: int | None,
    deadline_hours: int | None,
    priority_class: str | None,
    storage_class: str | None,
    publish: bool,
    output: str,
) -> None:
    """Print the manifests of an overlay, as they stand or for a cohort.

    With --cohort a RayJob plays the cohort on a cluster of its own, and takes the place of the
    standing one in overlays that have one. Its files are checked as by `gamectl validate`, and
    nothing is printed if any is refused.
    """
    overlays()  # says that there are none, before the cohort is read
    files: dict[str, bytes] = {}
    played: CohortFiles | None = None
    if cohort is not None:
        files, played = cohort_files(read_paths([cohort]), trains=overlay != SCORING)
    options = RenderOptions(
        overlay=overlay,
        image=image,
        namespace=namespace,
        workers=workers,
        gpu_workers=gpu_workers,
        cohort=played,
        publish=publish,
        storage_class=storage_class,
        priority_class=priority_class,
        deadline_hours=deadline_hours,
    )
    built = render(options, files)
    if (asked := over_quota(built.manifests)) is not None:
        console.print_note(
            f"the RayJob asks for {asked}, and its queue never has that: Kueue would let it wait "
            "for ever. Lower --workers or --gpu-workers, or raise nominalQuota in "
            f"deploy/overlays/{overlay}/queues.yaml"
        )
    if output == "json":
        console.print_json({"overlay": overlay, "manifests": list(built.manifests)})
    else:
        console.print_text(built.text.rstrip("\n"))


def cohort_files(reading: Reading, trains: bool = True) -> tuple[dict[str, bytes], CohortFiles]:
    """A cohort's files by name, and what the manifests must know of it.

    Raises `Refused` where a file has problems, which go to stderr, or doesn't fit a ConfigMap, and
    where the cohort `trains` and wants what the cluster does not have.
    """
    _check(reading)
    spec = reading.cohort.spec
    if spec.allow_custom_code and spec.custom_isolation == "bubblewrap":
        console.print_note(
            "teams' code needs a sandbox, which pods as restricted as these cannot make: "
            "deploy/README.md says what to change"
        )
    if spec.allow_custom_code and spec.custom_isolation == "process":
        console.print_note(
            "warning: without a sandbox teams' code can take the worker's Ray token, and with it "
            "the passwords of store and MLflow: leave out customIsolation: process"
        )
    files = _files(reading)
    mounted = _uses_mounted_photos(reading, trains)
    if trains and mounted and spec.teacher.file is None:
        _need_no_teacher(reading)
    return files, CohortFiles(reading.cohort.name, tuple(files), mounted)


def _need_no_teacher(reading: Reading) -> None:
    """Raises `Refused` where students learn from a teacher that only this machine has."""
    for file in reading.files:
        bought = file.loadout.spec.purchases if file.loadout is not None else ()
        if any(purchase.item == "wisdom-extractor" for purchase in bought):
            raise Refused(
                f"{file.path} buys wisdom-extractor, and in the cluster there is no teacher for "
                "your photos: copy its two files to the volume `artifacts` (`gamectl teacher list` "
                "shows where they are), and say in the cohort's spec "
                "`teacher: {file: /artifacts/NAME.pt}`"
            )


def _check(reading: Reading) -> None:
    """Raises `Refused` if anything in the reading is refused; every problem goes to stderr."""
    for file in reading.files:
        for problem in file.problems:
            console.print_note(str(problem))
    refused = sum(not file.ok for file in reading.files)
    if refused:
        raise Refused(f"{refused} refused, so nothing was rendered; correct them")
    if reading.cohort_path is None:
        raise Refused(
            "no file of kind Cohort in the folder; it takes a cohort.yaml "
            "(`gamectl schema cohort` says what it may hold)"
        )
    if reading.not_read:
        console.print_note(reading.not_read)


def _files(reading: Reading) -> dict[str, bytes]:
    """A cohort's files by name, with the Python files of its teams, as they were checked.

    Raises `Refused` for what a ConfigMap cannot hold.
    """
    teacher = reading.cohort.spec.teacher.file
    if teacher is not None and not PurePosixPath(teacher).is_absolute():
        raise Refused(
            f"teacher.file is {teacher!r}, next to the cohort's file, and a ConfigMap is too small "
            "for weights; copy it to the volume `artifacts` and name it as /artifacts/..."
        )
    files: dict[str, bytes] = {}
    for file in reading.files:
        files[Path(file.path).name] = file.text.encode()
        if file.loadout is not None and file.loadout.code is not None:
            files[file.loadout.code.file] = file.loadout.code.source.encode()
    for name in files:
        if KEY.fullmatch(name) is None:
            raise Refused(
                f"a ConfigMap has no file named {console.shortened(name)!r}; rename it, with "
                "a-z, A-Z, 0-9, - _ and ."
            )
    size = sum(len(name) + len(content) for name, content in files.items())
    if size > MAX_CONFIG_MAP_BYTES:
        raise Refused(
            f"the cohort's files have {size} bytes, and a ConfigMap holds {MAX_CONFIG_MAP_BYTES} "
            "(1 MiB); submit them with `gamectl submit` instead, or split the cohort"
        )
    if size > MAX_APPLIED_BYTES:
        console.print_note(
            f"the cohort's files have {size} bytes, more than a plain `kubectl apply` takes: "
            "... | kubectl apply --server-side -f -"
        )
    return files


def _uses_mounted_photos(reading: Reading, trains: bool) -> bool:
    """Whether the cohort names a folder of this machine, which the cluster's photos stand for.

    What the pod that reads the images has to be given for another source is said on stderr.
    """
    source = reading.cohort.spec.data.source
    if source == "drawn":
        return False
    shown = f"data.source is {console.shortened(source)}"
    reader = "the head" if trains else "the Job that scores"
    if source.startswith("/") or source.lower().startswith(FILE):
        folder = source[len(FILE) :] if source.lower().startswith(FILE) else source
        if not f"{folder}/".startswith(MOUNTED):
            console.print_note(
                f"{shown}, and {reader} has that only where you mount it; a relative folder stands "
                "for the volume photos"
            )
        return False
    if is_uri(source):
        out = " (on port 443 they do)" if trains else ""
        console.print_note(
            f"{shown}: {reader} fetches it, once NetworkPolicies let it out to there{out} and its "
            "environment has the credentials, if any are asked for"
        )
        return False
    console.print_note(
        f"{shown}: in the cluster that is what the volume photos holds (and `score` adds the "
        f"volume test-set); /{LOADOUTS} has no photos"
    )
    return True
