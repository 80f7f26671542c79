"""The titles of a cohort, which are won beside the first place: four rules, each said once.

In: what the scored teams reached and spent, the best first. Out: a `Title` each, with its winner or
why nobody has it. Pure. Next on the path: `report`, which shows them.

Of equal teams the one that stands higher on the leaderboard has the title: it spent less, or was
submitted earlier. Teams that share a place there share the title. Shares are of one; a point is a
hundredth.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator.admission.items.losses import HerrNilssonsFriend

FRIENDS_CLASS: str = HerrNilssonsFriend.model_fields["class_name"].default
"""Of squirrel monkeys, in the game's own images."""
POINTS_FROM_MEDIAN = 5.0
DIGITS = 9
ROUNDING = 10**-DIGITS
"""So that 5 points are 5 points, and equal figures equal, whatever their binary fractions are."""


@dataclass(frozen=True)
class Contender:
    """What a scored team brings to the titles."""

    team: str
    rank: int
    accuracy: float
    recall_per_class: tuple[float, ...]
    spent_bnn: float
    num_members: int
    """That it bought; an ensemble that lost members is still one."""


@dataclass(frozen=True)
class Title:
    """A title, by which rule it is won, and who has won it."""

    key: str
    name: str
    rule: str
    teams: tuple[str, ...]
    """Empty where nobody has it; several where they share a place."""
    because: str
    """The winner's figure, or why nobody has it."""


def titles(
    contenders: Sequence[Contender], classes: Sequence[str], budget_bnn: float
) -> tuple[Title, ...]:
    """All titles; `contenders` are in the leaderboard's order, their recalls in that of `classes`.

    The first needs squirrel monkeys, and is left out where the classes are not the game's ten.
    """
    from jobs.drawn_monkeys import known_species  # numpy and Pillow come with it

    found: list[Title] = []
    if FRIENDS_CLASS in known_species(classes):
        found.append(_friend(contenders, classes.index(FRIENDS_CLASS)))
    chance = 1 / max(1, len(classes))
    found += [
        _thrifty(contenders, chance),
        _soloist(contenders),
        _small_purse(contenders, budget_bnn),
    ]
    if not contenders:
        return tuple(replace(title, because="no team is scored") for title in found)
    return tuple(found)


def others_recall(contender: Contender, label: int) -> float:
    """Its mean recall on every class but one."""
    recalls = contender.recall_per_class
    return statistics.fmean(r for other, r in enumerate(recalls) if other != label)


def _friend(contenders: Sequence[Contender], label: int) -> Title:
    """Herr Nilsson's Friend, as the shop defines it."""
    others = [others_recall(each, label) for each in contenders]
    median = statistics.median(others) if others else 0.0
    near = [
        each
        for each, recall in zip(contenders, others, strict=True)
        if abs(recall - median) <= POINTS_FROM_MEDIAN / 100 + ROUNDING
        and each.recall_per_class[label] > 0
    ]
    return _won_by_most(
        "herr-nilssons-friend",
        HerrNilssonsFriend.title,
        "the best squirrel monkey recall among the teams whose mean recall on the other classes is "
        f"within {POINTS_FROM_MEDIAN:g} points of the median team's ({median:.1%})",
        near,
        lambda each: each.recall_per_class[label],
        lambda each: (
            f"found {each.recall_per_class[label]:.1%} of the squirrel monkeys, and "
            f"{others_recall(each, label):.1%} of the others"
        ),
        "no scored team that is so near to the median found any",
    )


def _thrifty(contenders: Sequence[Contender], chance: float) -> Title:
    """Who spent nothing divides by nothing: such a team stands aside, however good it is.

    Below chance more nuggets would make the loss of each smaller: nobody wins by that.
    """
    return _won_by_most(
        "per-nugget",
        "Every Nugget Counts",
        f"the most points of accuracy above guessing ({chance:.0%}) per B NN, of the teams that "
        "spent any",
        [each for each in contenders if each.spent_bnn > 0 and each.accuracy > chance],
        lambda each: (each.accuracy - chance) / each.spent_bnn,
        lambda each: (
            f"{100 * (each.accuracy - chance) / each.spent_bnn:.2f} points per B NN: "
            f"{each.accuracy:.1%} for {each.spent_bnn:g} B NN"
        ),
        "no scored team that spent anything is better than guessing",
    )


def _soloist(contenders: Sequence[Contender]) -> Title:
    return _won_by_most(
        "single-network",
        "Lone Silverback",
        "the best accuracy of a single network, without an ensemble",
        [each for each in contenders if each.num_members == 1],
        lambda each: each.accuracy,
        lambda each: f"{each.accuracy:.1%} with one network",
        "every scored team bought an ensemble",
    )


def _small_purse(contenders: Sequence[Contender], budget_bnn: float) -> Title:
    half = budget_bnn / 2
    return _won_by_most(
        "half-budget",
        "Half a Purse",
        f"the best accuracy for less than half the budget, {half:g} B NN",
        [each for each in contenders if each.spent_bnn < half],
        lambda each: each.accuracy,
        lambda each: f"{each.accuracy:.1%} for {each.spent_bnn:g} B NN",
        "every scored team spent half the budget or more",
    )


def _won_by_most(
    key: str,
    name: str,
    rule: str,
    eligible: Sequence[Contender],
    figure: Callable[[Contender], float],
    because: Callable[[Contender], str],
    otherwise: str,
) -> Title:
    if not eligible:
        return Title(key, name, rule, (), otherwise)
    best = max(round(figure(each), DIGITS) for each in eligible)
    equal = [each for each in eligible if round(figure(each), DIGITS) == best]
    winners = [each for each in equal if each.rank == equal[0].rank]
    return Title(key, name, rule, tuple(each.team for each in winners), because(winners[0]))
