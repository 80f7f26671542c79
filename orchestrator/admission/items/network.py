"""Items that change what the network is made of.

In: a loadout's parameters; out: the plan's `model` section. Next: `training`.
"""

from typing import Literal

from pydantic import Field

from jobs.plan import MemberPlan
from orchestrator.admission.purchase import Purchase, changed


class NeuralTurboBoost(Purchase):
    """Add further convolution blocks (convolution, ReLU, max pooling) to the network.

    The base network has one layer of 32 filters: it sees edges and colours, and guesses from where
    they are. A second layer combines them into textures and curves, a third into eyes and faces.
    This is what makes deep networks deep.

    Each block doubles the filters and halves the image, so 64 px are used up after five blocks;
    larger images (resolution-rocket) have room for more. Already the first one makes training six
    to nine times as long, and a deeper network learns slowly from nothing: give it momentum
    (speed-boost), a higher learning rate or more epochs, or it may still be guessing after 20. One
    or two blocks are a good start.
    """

    title = "Neural Turbo Boost"
    plain_words = ("deeper network", "depth", "layers", "convolution")
    price_bnn = 20
    sold_by = "blocks"

    item: Literal["neural-turbo-boost"]
    blocks: int = Field(default=1, ge=1, le=16, description="how many blocks; each has the price")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Deepen the network."""
        return changed(plan, "model", turbo_blocks=self.blocks)


class DropShield(Purchase):
    """Parts of the network are switched off at random while it trains.

    In every step, dropout silences some of the network: whole feature maps after each convolution,
    and single neurons before the prediction. What is left must manage alone, so knowledge spreads
    out instead of hanging on a few neurons. At test time all of them work together, a little like
    an ensemble.

    It is a remedy for overfitting: much better on training images than on validation images. The
    base network has only 16 neurons before its prediction, and after 20 epochs it rather knows too
    little, so half of them missing hurts. Try 0.1 to 0.3 there, and the full 0.5 with more blocks
    (neural-turbo-boost) or many epochs.
    """

    title = "Drop Shield"
    plain_words = ("dropout",)
    price_bnn = 10

    item: Literal["drop-shield"]
    rate: float = Field(default=0.5, gt=0, lt=1, description="share that is switched off")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on both kinds of dropout."""
        return changed(plan, "model", dropout=self.rate)


class FocusLens(Purchase):
    """The network learns where in the image to look.

    Spatial attention draws a map over the image, bright where something important is and dark
    elsewhere, and multiplies the features with it. A forest behind the monkey then disturbs less.
    The map itself comes from a small convolution that is trained along with the rest: 98 weights,
    and yet training takes more than twice as long, as it works on every pixel.

    It stands after the last convolution, so it works with whatever that one found. After the base
    network's single layer these are edges and colours, no faces yet, and the effect is small; with
    more blocks (neural-turbo-boost) there is more to point at. It dims all features at first, which
    can slow the start. A second seed tells you whether a gain is more than luck.
    """

    title = "Focus Lens"
    plain_words = ("spatial attention", "attention")

    item: Literal["focus-lens"]

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Put spatial attention behind the last convolution."""
        return changed(plan, "model", attention=True)
