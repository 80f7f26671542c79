"""Items that change training images at random, anew in every epoch.

In: a loadout's parameters; out: the plan's `augment` section. Validation and test images stay as
they are. Next: `network`.
"""

from typing import Annotated, Literal

from pydantic import Field

from jobs.plan import MemberPlan
from orchestrator.admission.purchase import Purchase, changed

BLUR_OF_SIDE = 0.01
"""The widest blur of strength 1, as a share of the image's side; `jobs.blur` has it, with torch."""
LEAST_BLUR_PX = 0.15
"""A Gaussian of that width gives the next pixel less than a float32 can add."""
Chance = Annotated[float, Field(ge=0, le=1)]


class FlipTrick(Purchase):
    """Training images are mirrored at random, left to right and upside down.

    A monkey that looks left is the same species when it looks right, and the mirror image is a new
    training image for free. It is among the safest changes to a photo: nothing is lost or blurred.

    The two chances are separate. Left to right at 0.5 makes both directions equally likely and is
    the usual choice for animals. Upside down is another matter: monkeys do hang from branches, but
    ground, sky and most heads keep their side, and the network has to learn views that the test
    images seldom show. Try `vertical: 0`.
    """

    title = "Flip Trick"
    plain_words = ("random flips", "flip", "mirror")
    price_bnn = 10
    without_effect = "both chances are 0"

    item: Literal["flip-trick"]
    horizontal: Chance = Field(default=0.2, description="chance of a flip left to right")
    vertical: Chance = Field(default=0.2, description="chance of a flip upside down")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on random flips."""
        return changed(
            plan, "augment", flip_horizontal_p=self.horizontal, flip_vertical_p=self.vertical
        )


class WhirlAndSwirl(Purchase):
    """Every training image is rotated by a random angle.

    Photographers tilt cameras and monkeys tilt heads. When each epoch shows every photo at another
    small angle, the network cannot rely on exact positions of pixels, and memorizing about 600
    pictures becomes much harder.

    Each epoch teaches less about each single picture, so training starts slower, and a network that
    still improves at its last epoch may end lower than without. Give it more epochs or a higher
    learning rate. Angles up to 15 or 20 degrees look natural and cost a tenth of the picture at
    most, its corners. At 45 it is a sixth, and pictures stop looking like test images, which nobody
    rotates.
    """

    title = "Whirl and Swirl"
    plain_words = ("random rotation", "rotate", "rotation")
    price_bnn = 10

    item: Literal["whirl-and-swirl"]
    degrees: float = Field(default=15, gt=0, le=180, description="angles are uniform in ± this")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on random rotations."""
        return changed(plan, "augment", rotate_degrees=self.degrees)


class TokyoDataDrift(Purchase):
    """Every training image is shifted by a random distance.

    The base network pools over patches of 8 pixels and then looks at each place with weights of its
    own: a monkey at the left edge and the same monkey in the middle have little in common for it.
    Shifted copies teach it that the place does not matter.

    The default moves a 64 px image by up to 6 pixels in each direction. Twice as much is still
    harmless where the animal is in the middle; at 0.5 half of it may leave the picture. As with
    every change to the images, the first epochs go slower, so a short training may not live to see
    the benefit.
    """

    title = "Need for Shift: Tokyo Data Drift"
    plain_words = ("random shift", "shift", "translation", "translate")
    price_bnn = 5

    item: Literal["tokyo-data-drift"]
    shift: float = Field(
        default=0.1, gt=0, le=0.5, description="shifts are uniform in ± this, of each side"
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on random shifts."""
        return changed(plan, "augment", shift_fraction=self.shift)

    def wasted_on(self, plan: MemberPlan) -> str | None:
        """Shifts are whole pixels."""
        most_px = self.shift * plan.data.image_size_px
        return f"a shift of at most {most_px:.2g} pixels rounds to none" if most_px <= 0.5 else None


class FoggyLens(Purchase):
    """Every training image is blurred by a random amount.

    A blurred photo has lost its fine detail, so the network must find what remains: the shape of
    the face, the colour of the coat, the background. That protects against learning camera noise
    and single hairs by heart.

    The rule book's blur is meant for photos of 500 px. Here it shrinks with the image: at 64 px and
    strength 1 its width is at most 0.64 of a pixel, which is hardly visible. Strength 3 or 4 is a
    clear blur, 8 the strongest there is. A blur never reaches further than 2 pixels to the sides
    and 4 up and down, so the larger the image (resolution-rocket), the less any strength does.
    Test images are sharp: a network that only ever saw fog misses what detail would tell it.
    """

    title = "Foggy Lens"
    plain_words = ("blur", "gaussian blur")
    price_bnn = 5

    item: Literal["foggy-lens"]
    strength: float = Field(
        default=1, gt=0, le=8, description="factor of the rule book's blur; 1 is weak at 64 px"
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on random blurring."""
        return changed(plan, "augment", blur_strength=self.strength)

    def wasted_on(self, plan: MemberPlan) -> str | None:
        """A pixel's neighbours weigh nothing where the blur is much narrower than a pixel."""
        most_px = self.strength * BLUR_OF_SIDE * plan.data.image_size_px
        if most_px >= LEAST_BLUR_PX:
            return None
        return f"a blur of at most {most_px:.2g} pixels leaves every pixel as it is"


class CutoutChaos(Purchase):
    """A black rectangle covers a part of some training images.

    With a piece missing, perhaps the white beard that gave the species away, the network has to
    learn a second and a third sign to go by. At test time, when a branch hides half a face, that
    pays off.

    `probability` says how many of the images are hit, `maxArea` how much of one at most; the
    rectangles start at 2 % and come in all shapes from flat to tall. With only 20 epochs the base
    network usually learns too little rather than too much, and then this item costs accuracy. It
    pays for large networks, long trainings and rich data. Start with `probability: 0.25`.
    """

    title = "Cutout Chaos"
    also_called = ("Missing Pieces", "Cutout Mask")
    plain_words = ("random erasing", "cutout", "erase", "erasing")
    price_bnn = 10
    without_effect = "its probability is 0"

    item: Literal["cutout-chaos"]
    probability: Chance = Field(default=0.5, description="chance that an image is hit")
    max_area: float = Field(
        default=0.2,
        ge=0.02,
        le=0.25,
        description="a rectangle covers 0.02 of the image to this much of it",
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on random erasing; where it never happens, its area means nothing."""
        if self.probability == 0:
            return plan
        return changed(plan, "augment", erase_p=self.probability, erase_max_area=self.max_area)


class MixupMixer(Purchase):
    """Training images are mixed in pairs, and so are their labels.

    The network sees 80 % howler and 20 % uakari in one picture, and the right answer is just that:
    0.8 and 0.2. It stops being certain about everything, errs less boldly and is harder to confuse.

    `alpha` shapes the mix. At 0.2 most pairs are nearly pure; at 1 every share is as likely as any
    other. The paper used 0.1 to 0.4 on ImageNet and 1 on CIFAR-10. Training accuracy will look
    poor, because it is measured on the mixed pictures: look at the validation images instead. It is
    a strong medicine against overfitting. A small network after 20 epochs seldom has that illness
    and may only learn more slowly.
    """

    title = "Mixup Mixer"
    plain_words = ("mixup", "mix")
    price_bnn = 20

    item: Literal["mixup-mixer"]
    alpha: float = Field(
        default=0.2, gt=0, le=10, description="shares are drawn from Beta(alpha, alpha)"
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on mixup."""
        return changed(plan, "augment", mixup_alpha=self.alpha)

    def wasted_on(self, plan: MemberPlan) -> str | None:
        """Images are mixed with others of their batch."""
        return "a batch of one image has no pair to mix" if plan.batch_size == 1 else None
