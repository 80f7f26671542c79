"""The item that brings a team's own code.

In: the name of a Python file next to the loadout; out: the plan's `custom` section. The text itself
is not in the YAML: `team_file` reads it along with the loadout, checks it without running it, and
hands it to the purchase. Next: `enchanter`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr
from pydantic_core import PydanticCustomError

from jobs.plan import CustomPlan, MemberPlan, TeamFunction
from orchestrator.admission.purchase import Purchase
from orchestrator.console import shortened

FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,96}\.py$"  # 100 characters at most

SIGNATURES: Mapping[TeamFunction, tuple[str, ...]] = {
    "build_model": ("num_classes", "size_px"),
    "build_loss": ("class_weights",),
    "augment": ("images", "generator"),
}
"""What a team's file may define, each with its parameters in order."""


def signature(function: TeamFunction) -> str:
    """Return how a function has to be written: `def augment(images, generator):`."""
    return f"def {function}({', '.join(SIGNATURES[function])}):"


def _file_name(name: str) -> str:
    if not re.fullmatch(FILE_NAME, name):
        raise PydanticCustomError(
            "not-a-file-name",
            "file is '{name}'; a Python file in the loadout's own folder is wanted, by its name "
            "alone: letters a-z, digits, _ - and points, no folder, at most 100 characters, .py at "
            "the end, such as our_network.py",
            {"name": shortened(name)},
        )
    return name


class Custom(Purchase):
    """Bring a Python file of your own, with a network, a loss or an augmentation.

    A file next to the loadout defines any of three functions; the rest stays the game's:
    `build_model(num_classes, size_px)` returns a torch module that takes images (B, 3, S, S) in
    [0, 1] and gives logits (B, classes); `build_loss(class_weights)` returns a function of logits
    and targets; `augment(images, generator)` returns changed images of the same shape. Targets
    are class numbers (B,) or, with mixup-mixer, shares (B, classes); `class_weights` is None
    without herr-nilssons-friend.

    An idea: a block that adds its input to its output, `x + conv(relu(conv(x)))`. Stack many of
    them; start with 32 channels, halve the image between blocks and average over it at the end.
    loadouts/demo/residual.py does this. Draw random numbers in `augment` from its generator only,
    which is the CPU's: move them to `images.device`. Only parameters and buffers are kept for
    scoring.

    The file sees neither network nor files, and has time and memory limits; weights and momentum
    together take 256 MiB at most. Your cohort must allow it.
    """

    title = "Do Whatever You Want"
    also_called = ("Find Out",)
    plain_words = ("own code", "python", "own network", "own loss", "own model", "custom code")
    shared: ClassVar[Mapping[str, str]] = {"file": "all members of a job share the team's file"}
    example: ClassVar[Mapping[str, Any]] = {"file": "residual.py"}

    item: Literal["custom"]
    file: Annotated[str, AfterValidator(_file_name)] = Field(
        description="name of a Python file next to the loadout",
        json_schema_extra={"pattern": FILE_NAME},
    )

    _code: CustomPlan | None = PrivateAttr(default=None)

    @property
    def code(self) -> CustomPlan | None:
        """The file's text and what it defines; None before the file is read, or where it is bad."""
        return self._code

    def with_code(self, code: CustomPlan) -> Self:
        """Return the purchase with its file read."""
        read = self.model_copy()
        read._code = code
        return read

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Put the file into the plan; one that could not be read is a problem of its own."""
        return plan if self._code is None else plan.model_copy(update={"custom": self._code})
