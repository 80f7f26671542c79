"""Loadouts and plans with a team's own code, and lines of files that bring it."""

from typing import Any

from jobs.plan import CustomPlan, DataPlan, MemberPlan, TeamFunction
from orchestrator.admission.loadout import Loadout
from tests.orchestrator.test_admission import loadout

ALLOWED = "  allowCustomCode: true\n"
BUY = "purchases: [{item: custom, file: ours.py}]"
BUILD = "def build_model(num_classes, size_px):\n    return None\n"
LOSS = "def build_loss(class_weights):\n    return None\n"
BASE = MemberPlan(data=DataPlan(fingerprint="", classes=("a", "b")))


def code(*defines: TeamFunction, source: str = "pass") -> CustomPlan:
    return CustomPlan(file="ours.py", source=source, defines=defines or ("build_model",))


def with_code(*purchases: dict[str, Any], bring: CustomPlan | None = None) -> Loadout:
    """A loadout that buys these and `custom`, its file read."""
    bought = loadout(*purchases, {"item": "custom", "file": "ours.py"})
    return bought.with_code(bring or code())


def coded(bring: CustomPlan | None = None) -> MemberPlan:
    return BASE.model_copy(update={"custom": bring or code()})
