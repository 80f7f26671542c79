"""Items that change which images there are to learn from, and their size.

In: a loadout's parameters; out: the plan's `data` section. Next: `augmentations`.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from jobs.plan import MemberPlan
from orchestrator.admission.purchase import Purchase, changed

MIN_SIZE_PX, MAX_SIZE_PX = 32, 224


class InfoInfusion(Purchase):
    """Train on all training images instead of a part of them.

    Without this item a team learns from 70 % of the images that are left when a fifth is put aside
    for validation: about 600. The other 30 % join in when you buy it. More examples are the most
    dependable help there is: a network that has seen more monkeys in more poses has less to guess,
    and finds it harder to learn single pictures by heart.

    An epoch has nearly half as many steps again, and takes longer for it. So the same number of
    epochs also trains the network further, which helps one that has not learned enough yet. What it
    cannot mend is a learning rate that is far too low or too high.
    """

    title = "Info Infusion"
    also_called = ("Data Potion",)
    plain_words = ("more data", "all data", "more images")
    price_bnn = 20
    without_effect = "this cohort gives every team all training images"

    item: Literal["info-infusion"]

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Take every image that is not a validation image."""
        return changed(plan, "data", train_fraction=1.0)


class ResolutionRocket(Purchase):
    """Choose the size of the images.

    Without this item every photo is shrunk to 64 x 64 pixels, where a face is a few pixels wide.
    Larger images keep fur, eyes and beards, by which similar species differ. Smaller ones train
    faster and hide detail that may only distract.

    Time grows with the area: 96 px cost more than twice as much as 64, 128 px four times. So does
    the first linear layer, which then overfits more easily. Try 96 first. The base network looks at
    3 pixels at a time and gains little from 224; more convolution blocks (neural-turbo-boost) see
    larger patterns and can use the detail. All members of an ensemble share one size.
    """

    title = "Resolution Rocket"
    plain_words = ("image size", "upsample", "downsample", "resolution", "resize")
    price_bnn = 5
    shared: ClassVar[Mapping[str, str]] = {"size": "all images of a job have one size"}
    without_effect = "images have this size without it"

    item: Literal["resolution-rocket"]
    size: int = Field(
        default=96, ge=MIN_SIZE_PX, le=MAX_SIZE_PX, description="side of the images in pixels"
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Set the side of the images."""
        return changed(plan, "data", image_size_px=self.size)
