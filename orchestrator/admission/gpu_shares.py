"""What a member may ask for of GPUs: whole ones, or a share of one that Ray can give out.

In: the number in a cohort's file. Out: the same number, or an error that says what to write. Used
by `cohort`; `capacity` counts how many shares fit.
"""

import math

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

SHARE_TOLERANCE = 0.05  # so that 0.33 passes for a third
SMALLEST_SHARE = 1e-4  # Ray counts no further
STORED = "stored"
"""In a validation's context: of what the store has, an earlier release may have allowed more."""


def whole_or_share(gpus: float, info: ValidationInfo) -> float:
    """Allow whole GPUs, or one k-th of one.

    A share may be a little less, but not more: of 0.167 of a GPU only five fit there, not six.
    """
    if gpus == round(gpus) or (info.context and STORED in info.context):
        return gpus
    advice = "one k-th of a GPU (0.5, 0.33, 0.25)"
    if SMALLEST_SHARE <= gpus < 1:
        parts = round(1 / gpus)
        rounded_down = math.floor(1 / parts / SMALLEST_SHARE) * SMALLEST_SHARE
        if gpus * parts <= 1 and 1 / gpus - parts <= SHARE_TOLERANCE:
            return gpus
        advice = f"one k-th of a GPU, rounded down: {rounded_down:.4g} for {parts} members on one"
    raise PydanticCustomError(
        "not-allowed",
        "gpus is {gpus}; allowed is a whole number, or {advice}",
        {"gpus": f"{gpus:g}", "advice": advice},
    )
