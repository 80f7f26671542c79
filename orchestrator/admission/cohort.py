"""The format of a cohort: the organizer's rules for the loadouts that are submitted together.

In: the values of a YAML file with `kind: Cohort`; out: a `Cohort`, of which every section may be
left out. `admit` holds loadouts against it; the controller takes queue and retries from it.
"""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from jobs.plan import Isolation, Normalize, Precision, SandboxRules
from orchestrator.admission.data_source import with_both_slashes
from orchestrator.admission.gpu_shares import STORED, whole_or_share
from orchestrator.admission.manifest import ApiVersion, Label, Listed, Model
from orchestrator.admission.shop import ItemKey
from orchestrator.errors import Refused

HERE = "local"
"""As the cluster of a cohort: none."""


def cluster_address(cluster: str) -> str:
    """Allow the address of a Ray dashboard, behind which the Jobs API is, or `local`."""
    if cluster != HERE and not _is_base_url(cluster):
        raise PydanticCustomError(
            "not-allowed",
            "cluster is {cluster}; allowed is http://HOST:8265, or local",
            {"cluster": repr(cluster)},
        )
    return cluster.rstrip("/")


def _is_base_url(address: str) -> bool:
    if not re.fullmatch(r"https?://[^\s/@?#]+/?", address):
        return False
    try:
        url = urlsplit(address)
        return bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is none, or brackets around what is no IPv6 address
        return False


class Limits(Model):
    """The most that a loadout may ask for."""

    epochs: int = Field(default=40, ge=1, le=10_000, description="of any member")
    image_size_px: int = Field(default=224, ge=8, le=1024, description="side of the images")
    members: int = Field(default=5, ge=1, le=100, description="of an ensemble")
    batch_size: int = Field(default=256, ge=1, le=8192, description="of any member")
    submissions_per_team: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="revisions a team may hand in; those that the cluster failed are not counted",
    )
    active_deadline_seconds: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="running time of a job; while none of its members has a slot it stands still",
    )


class Data(Model):
    """Which images, and who gets which part of them."""

    source: Annotated[str, AfterValidator(with_both_slashes)] = Field(
        default="drawn",
        description="`drawn` (the embedded set), a folder, relative to the cohort's file, or the "
        "URI of one (s3://BUCKET/PREFIX) or of its archive (.zip, .tar.gz)",
    )
    skip_broken_images: bool = Field(
        default=False, description="leave out images that cannot be read, instead of stopping"
    )
    validation_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="of the training folder; the same for every team"
    )
    train_fraction: float = Field(
        default=0.7, gt=0, le=1, description="of the rest; what a team gets without info-infusion"
    )
    split_seed: int = Field(default=0, ge=0, lt=2**53, description="seed of both splits")


class Resources(Model):
    """What one member gets of the cluster; of several workers, each gets CPUs, GPUs and threads."""

    cpus: float = Field(
        default=1, gt=0, le=1024, description="CPUs reserved for a member, or each of its workers"
    )
    gpus: Annotated[float, AfterValidator(whole_or_share)] = Field(
        default=0,
        ge=0,
        le=64,
        description="GPUs of a member, or of each of its workers: a whole number, or one k-th",
    )
    threads: int = Field(
        default=1, ge=1, le=1024, description="torch's threads; part of what decides the bits"
    )
    precision: Precision = Field(default="fp32", description="number format of the training")
    trainer: Literal["local", "workers"] = Field(
        default="local", description="in the warm slot itself, or in a Ray Train worker group"
    )
    max_slots: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="members that train at the same time at most; without it as many as the nodes "
        "have room for, and on a cluster that was joined as many as an autoscaler adds nodes for",
    )
    workers_per_member: int = Field(
        default=1,
        ge=1,
        le=64,
        description="processes that train a member together, each on its part of every batch; with "
        "several they are a worker group whatever `trainer` says. Part of what decides the bits",
    )

    @property
    def in_worker_group(self) -> bool:
        """Whether a member trains beside its slot, in a worker group that holds the resources."""
        return self.trainer == "workers" or self.workers_per_member > 1

    @model_validator(mode="after")
    def _threads_fit(self) -> Self:
        if self.threads > max(1, self.cpus):
            raise PydanticCustomError(
                "over-limit",
                "{threads} threads on {cpus} CPUs; allowed is one thread a CPU",
                {"threads": self.threads, "cpus": f"{self.cpus:g}"},
            )
        return self

    @model_validator(mode="after")
    def _workers_have_gpus_of_their_own(self) -> Self:
        if self.workers_per_member > 1 and 0 < self.gpus < 1:
            raise PydanticCustomError(
                "not-allowed",
                "{workers} workers a member with {gpus} of a GPU each; a member's workers cannot "
                "share a GPU: allowed is a whole number of gpus, or workersPerMember: 1",
                {"workers": self.workers_per_member, "gpus": f"{self.gpus:g}"},
            )
        return self


class Queue(Model):
    """In which order jobs start."""

    policy: Literal["fair", "longest-first"] = Field(
        default="fair", description="by turns, or the jobs with the most work first"
    )
    max_wait_seconds: float = Field(
        default=3600,
        gt=0,
        le=1e9,
        description="a job that has waited so long goes before all that have waited less",
    )


class Retry(Model):
    """How often a member that failed is tried again."""

    backoff_limit: int = Field(
        default=0, ge=0, le=100, description="retries of a member that failed by the team's fault"
    )
    cluster_retries: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="attempts in a row that the cluster may lose before a member is an epoch "
        "further; each is retried after a moment",
    )


class TeacherFile(Model):
    """The teacher that students distil from, where the organizer brings one.

    Without a file it is the one that `gamectl teacher train` kept for this data, or the one in
    `Pretrained/`. A file with a manifest beside it needs no more words; for a bare state dict the
    other fields say what it is.
    """

    file: str | None = Field(
        default=None, description="a plain state dict (.pt), relative to the cohort's file"
    )
    architecture: str = Field(default="resnet18", description="a classifier of torchvision's")
    image_size_px: int = Field(
        default=64, ge=8, le=1024, description="images are resized to this side for the teacher"
    )
    normalize: Normalize = Field(
        default="none", description="whether pixels are normalized as for ImageNet's networks"
    )


class Scoring(Model):
    """Which test images count."""

    exclude_leaked: bool = Field(
        default=False,
        description="leave out test images that are also, or nearly, among the training images",
    )


class CustomLimits(Model):
    """What a member that runs a team's own code may use."""

    wall_seconds: float = Field(
        default=3600, gt=0, le=1e9, description="time on the clock, of one attempt"
    )
    cpu_seconds: float = Field(
        default=7200, gt=0, le=1e9, description="CPU time of each of its processes"
    )
    memory_mib: int = Field(
        default=4096,
        ge=512,
        le=1 << 24,
        description="memory of all its processes together, a sandbox's temporary files included",
    )
    processes: int = Field(
        default=64, ge=8, le=100_000, description="processes and threads at a time"
    )
    open_files: int = Field(
        default=256, ge=32, le=1_000_000, description="open files of each of its processes"
    )
    temporary_mib: int = Field(
        default=256, ge=1, le=1 << 24, description="room in its temporary folder"
    )
    output_mib: int = Field(default=16, ge=1, le=1 << 20, description="what it may print")


class CohortMetadata(Model):
    """What the cohort is called."""

    name: Label = Field(default="default", description="the cohort's name: a DNS-1123 label")


class CohortSpec(Model):
    """The rules."""

    budget: int = Field(default=100, ge=0, le=1_000_000, description="of a team, in B NN")
    prices: dict[ItemKey, Annotated[int, Field(ge=0, le=1_000_000)]] = Field(
        default={}, description="prices in B NN that differ from the catalog's, by item"
    )
    off_the_shelf: Listed[ItemKey] = Field(default=(), description="items that nobody can buy")
    limits: Limits = Limits()
    data: Data = Data()
    resources: Resources = Resources()
    queue: Queue = Queue()
    retry: Retry = Retry()
    scoring: Scoring = Scoring()
    teacher: TeacherFile = TeacherFile()
    cluster: Annotated[str, AfterValidator(cluster_address)] = Field(
        default=HERE,
        description="http://HOST:8265 of a Ray cluster whose job runs the cohort; `local` runs it "
        "on the machine that submits it",
    )
    allow_custom_code: bool = Field(
        default=False, description="whether teams may bring Python code of their own (item custom)"
    )
    custom_isolation: Isolation = Field(
        default="bubblewrap",
        description="a sandbox around teams' code; with `process` there is none, and the code can "
        "do whatever its user can: only for code that you trust",
    )
    custom_limits: CustomLimits = CustomLimits()

    @property
    def sandbox_rules(self) -> SandboxRules:
        """How teams' code is kept apart and what it may use."""
        return SandboxRules(isolation=self.custom_isolation, **self.custom_limits.model_dump())


class Cohort(Model):
    """The organizer's rules for the loadouts that are submitted together."""

    model_config = ConfigDict(json_schema_extra={"required": ["apiVersion", "kind"]})

    api_version: ApiVersion = "game/v1"
    kind: Literal["Cohort"] = "Cohort"
    metadata: CohortMetadata = CohortMetadata()
    spec: CohortSpec = CohortSpec()

    @classmethod
    def stored(cls, document: dict[str, Any]) -> Self:
        """A cohort as the store has it; raises `Refused` for one that a newer release wrote."""
        try:
            return cls.model_validate(document, context={STORED: True})
        except ValidationError as error:
            unknown = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise Refused(
                "the cohort was submitted by another release, with settings that this one does not "
                f"know ({unknown}): use that release, or submit it again with this one"
            ) from error

    @property
    def name(self) -> str:
        """The cohort's name."""
        return self.metadata.name
