"""What the report and a team's page are made of: plain values, without store, images or HTML.

In: nothing. Out: frozen dataclasses. `gather` fills them, `html` shows them. Shares are of one,
times are seconds since 1970.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.report.curves import LineChart
from orchestrator.report.timeline import Timeline
from orchestrator.results.leaderboard import Place
from orchestrator.results.titles import Title

State = Literal["unscored", "unpublished", "published"]
PODIUM_ROOM = 6
"""So many teams stand on it."""


@dataclass(frozen=True)
class ClassName:
    """A class of the images: its folder's name, and the species where that is known."""

    name: str
    species: str = ""

    def __str__(self) -> str:
        return self.species or self.name


@dataclass(frozen=True)
class ReceiptLine:
    """An item that was bought."""

    title: str
    quantity: int
    total_bnn: float


@dataclass(frozen=True)
class Confusion:
    """What images of each class were called: counts, rows are true classes."""

    counts: tuple[tuple[int, ...], ...]

    def shade(self, row: int, column: int) -> int:
        """The share of the row that this cell holds, in tenths; 0 only for none."""
        count, total = self.counts[row][column], sum(self.counts[row])
        return 0 if count == 0 else max(1, round(10 * count / total))

    @property
    def mix_ups(self) -> tuple[tuple[int, int, int], ...]:
        """What was taken for something else: (true class, called, how often), most often first."""
        wrong = [
            (row, column, count)
            for row, counts in enumerate(self.counts)
            for column, count in enumerate(counts)
            if row != column and count > 0
        ]
        return tuple(sorted(wrong, key=lambda each: -each[2]))


@dataclass(frozen=True)
class MemberLine:
    """One network of a team: how far it came, and how it ended."""

    index: int
    phase: str
    epoch: int
    epochs: int
    first_val_accuracy: float | None
    val_accuracy: float | None
    best_epoch: int | None
    val_accuracies: tuple[float, ...]
    """After each epoch."""
    seconds: float


@dataclass(frozen=True)
class Score:
    """A team on the test set."""

    rank: int
    shared: bool
    """Whether other teams have the same rank."""
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_recall: float
    confusion: Confusion

    @property
    def place(self) -> str:
        """The rank as tables have it."""
        return str(Place(self.rank, self.shared))


@dataclass(frozen=True)
class Team:
    """One team: what it bought, how its networks trained, and where it stands."""

    number: int
    """Its place on the page, from 0; names its anchor."""
    team: str
    revision: int
    phase: str
    reason: str
    message: str
    """Why it has no result, or not with all of its members."""
    spent_bnn: float
    budget_bnn: float
    receipt: tuple[ReceiptLine, ...]
    combine: str
    members: tuple[MemberLine, ...]
    num_members_trained: int
    val_accuracy: float | None
    accuracy_curves: LineChart | None
    loss_curves: LineChart | None
    self_reported: bool
    """Whether the training part of its curves is what its own code says."""
    score: Score | None
    titles: tuple[str, ...] = ()

    @property
    def degraded(self) -> bool:
        """Whether it is scored with fewer members than it bought."""
        return self.phase == "Succeeded" and self.num_members_trained < len(self.members)

    @property
    def anchor(self) -> str:
        """Where the page shows it."""
        return f"team-{self.number}"


@dataclass(frozen=True)
class Said:
    """A class that teams named for an image, and how many of them."""

    label: int
    num_teams: int


@dataclass(frozen=True)
class HardImage:
    """A test image that most teams got wrong."""

    sha256: str
    label: int
    num_wrong: int
    num_teams: int
    said: tuple[Said, ...]
    """The wrong answers, the most frequent first."""
    right: tuple[str, ...]
    """The teams that knew it."""


@dataclass(frozen=True)
class Mistake:
    """An image that one team got wrong."""

    sha256: str
    label: int
    called: int


@dataclass(frozen=True)
class Figures:
    """A cohort in numbers."""

    num_teams: int
    num_networks: int
    num_epochs: int
    num_slots: int
    slot_seconds: float


@dataclass(frozen=True)
class Report:
    """A whole cohort."""

    cohort: str
    state: State
    made_at: float
    budget_bnn: float
    classes: tuple[ClassName, ...]
    test_images: int
    test_images_left_out: int
    figures: Figures
    teams: tuple[Team, ...]
    """By rank; those without a score below, by validation accuracy."""
    titles: tuple[Title, ...]
    hard_images: tuple[HardImage, ...]
    num_hard_images: int
    """How many there are; the first of them are shown."""
    answers_known: bool
    """Whether the score book says what each team called each image."""
    unscored: tuple[str, ...]
    """Teams whose newest job has succeeded and has no score."""
    at_work: tuple[str, ...]
    """Teams whose newest job is not over."""
    timeline: Timeline | None

    @property
    def podium(self) -> tuple[Team, ...]:
        """The first three, in order, and who is level with them.

        A place that more teams share than it has room for is left out, with all below it.
        """
        most = PODIUM_ROOM
        ranks = [team.score.rank for team in self.teams if team.score and team.score.rank <= 3]
        fitting = ranks if len(ranks) <= most else [r for r in ranks[:most] if r < ranks[most]]
        return self.teams[: len(fitting)]

    def to_dict(self) -> dict[str, Any]:
        """The form of `--output json`: everything but what is only there to be drawn."""
        drawn = {"accuracy_curves", "loss_curves"}
        return {
            "cohort": self.cohort,
            "state": self.state,
            "made_at": self.made_at,
            "budget_bnn": self.budget_bnn,
            "classes": [each.name for each in self.classes],
            "test_images": self.test_images,
            "test_images_left_out": self.test_images_left_out,
            "figures": asdict(self.figures),
            "titles": [asdict(title) for title in self.titles],
            "hard_images": [asdict(image) for image in self.hard_images],
            "num_hard_images": self.num_hard_images,
            "teams": [
                {key: value for key, value in asdict(team).items() if key not in drawn}
                for team in self.teams
            ],
        }


@dataclass(frozen=True)
class Earlier:
    """An older revision of a team, which stands for it until a newer one is scored."""

    revision: int
    score: Score


@dataclass(frozen=True)
class TeamResults:
    """What a team may take home; nothing of the test set before its cohort is published."""

    cohort: str
    published: bool
    made_at: float
    team: Team
    num_ranked: int
    earlier: Earlier | None
    titles: tuple[Title, ...]
    """Those that it holds."""
    classes: tuple[ClassName, ...]
    images: Literal["test", "validation", "none"]
    """Which images `mistakes` and `confusion` are of."""
    num_images: int
    mistakes: tuple[Mistake, ...]
    confusion: Confusion | None
    unknown: str
    """Why there are no mistakes to show; empty where they are known."""

    def to_dict(self) -> dict[str, Any]:
        """The form of `--output json`."""
        document = asdict(self)
        for drawn in ("accuracy_curves", "loss_curves"):
            del document["team"][drawn]
        return document
