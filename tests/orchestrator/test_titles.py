"""Who holds which title."""

from dataclasses import replace

import pytest

from orchestrator.results.titles import Contender, Title, titles

CLASSES = tuple(f"n{label}" for label in range(10))


def team(
    name: str,
    accuracy: float = 0.5,
    squirrel: float = 0.5,
    others: float = 0.5,
    spent: float = 10,
    members: int = 1,
) -> Contender:
    return Contender(name, 0, accuracy, (*[others] * 7, squirrel, *[others] * 2), spent, members)


def held(*contenders: Contender, classes: tuple[str, ...] = CLASSES) -> dict[str, Title]:
    """The contenders stand at places of their own, unless they have some already."""
    ranked = [replace(each, rank=each.rank or n) for n, each in enumerate(contenders, start=1)]
    return {title.key: title for title in titles(ranked, classes, 100)}


def test_the_friend_has_the_best_recall_among_those_near_the_median() -> None:
    # The others' recalls are .50, .60, .65 and .30: their median is .55.
    title = held(
        team("a", squirrel=0.7, others=0.50),
        team("b", squirrel=0.8, others=0.60),
        team("c", squirrel=0.9, others=0.65),
        team("sees-squirrels-everywhere", squirrel=1.0, others=0.30),
    )["herr-nilssons-friend"]
    assert title.teams == ("b",)
    assert "80.0% of the squirrel monkeys" in title.because
    assert "within 5 points of the median team's (55.0%)" in title.rule


def test_five_points_are_near_enough_on_both_sides() -> None:
    for others in (0.45, 0.55):
        near = team("near", squirrel=0.9, others=others)
        title = held(team("a"), team("b"), near)["herr-nilssons-friend"]
        assert title.teams == ("near",)
    for others in (0.449, 0.551):
        far = team("far", squirrel=0.9, others=others)
        assert held(team("a"), team("b"), far)["herr-nilssons-friend"].teams == ("a",)


def test_nobody_may_be_near_the_median() -> None:
    title = held(team("a", others=0.2), team("b", others=0.8))["herr-nilssons-friend"]
    assert title.teams == ()
    assert "near" in title.because


@pytest.mark.parametrize(
    "classes", [("cat", "dog", "n70"), ("n6", "n7", "n8"), (*CLASSES[:7], "n7", "dog", "cat")]
)
def test_without_the_games_squirrel_monkeys_they_have_no_friend(classes: tuple[str, ...]) -> None:
    assert "herr-nilssons-friend" not in held(team("a"), classes=classes)


def test_the_friend_is_of_n7_wherever_it_stands() -> None:
    first = Contender("first", 0, 0.5, (0.54, *[0.5] * 9), 0, 1)
    second = Contender("second", 0, 0.5, (0.5, 0.54, *[0.5] * 8), 0, 1)
    classes = ("n7", *CLASSES[:7], *CLASSES[8:])
    assert held(second, first, classes=classes)["herr-nilssons-friend"].teams == ("first",)


def test_spending_nothing_wins_no_title_per_nugget() -> None:
    title = held(
        team("free", accuracy=0.9, spent=0),
        team("rich", accuracy=0.8, spent=90),
        team("wise", accuracy=0.6, spent=20),
        team("guesses", accuracy=1 / 10, spent=1),
    )["per-nugget"]
    assert title.teams == ("wise",)
    assert "60.0% for 20 B NN" in title.because
    assert held(team("free", spent=0))["per-nugget"].teams == ()


def test_whoever_guesses_worse_wins_nothing_by_spending_more() -> None:
    title = held(team("a", accuracy=0.05, spent=10), team("b", accuracy=0.05, spent=100))
    assert title["per-nugget"].teams == ()
    assert "better than guessing" in title["per-nugget"].because


def test_equal_figures_are_equal_whatever_their_binary_fractions_are() -> None:
    higher, lower = team("a", 116 / 272, spent=30), team("b", 42 / 272, spent=5)
    assert held(higher, lower)["per-nugget"].teams == ("a",)


def test_an_ensemble_is_no_single_network() -> None:
    assert held(team("a", 0.9, members=2), team("b", 0.8))["single-network"].teams == ("b",)
    assert held(team("a", 0.9, members=2))["single-network"].teams == ()


def test_half_the_budget_is_not_under_half_of_it() -> None:
    assert held(team("a", 0.9, spent=50), team("b", 0.8, spent=49))["half-budget"].teams == ("b",)
    assert held(team("a", 0.9, spent=50))["half-budget"].teams == ()


@pytest.mark.parametrize("key", ["herr-nilssons-friend", "per-nugget", "single-network"])
def test_of_equal_teams_the_one_that_stands_higher_has_it(key: str) -> None:
    assert held(team("higher"), team("lower"))[key].teams == ("higher",)


def test_teams_that_share_a_place_share_the_title() -> None:
    level = [replace(team(name), rank=1) for name in ("a", "b")]
    title = held(*level, replace(team("c", spent=20), rank=3))["single-network"]
    assert title.teams == ("a", "b")
    better = replace(team("d", accuracy=0.6, members=2), rank=1)
    level = [replace(each, rank=2) for each in level]
    assert held(better, *level)["half-budget"].teams == ("d",)


def test_without_teams_nobody_has_any() -> None:
    assert [title.teams for title in titles((), CLASSES, 100)] == [()] * 4
