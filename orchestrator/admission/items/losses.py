"""Items that change what the network is trained to do.

In: a loadout's parameters; out: the plan's `loss` and `distill` sections. Next: `enchanter`.
"""

from typing import Literal

from pydantic import Field

from jobs.plan import DistillPlan, MemberPlan
from orchestrator.admission.purchase import Purchase, changed


class HerrNilssonsFriend(Purchase):
    """Mistakes on one class count more than mistakes on the others.

    Herr Nilsson is Pippi Longstocking's squirrel monkey, and n7 is his species. With weight 5 a
    missed squirrel monkey hurts the network as much as five other misses, so it learns to find
    almost all of them, and suspects one behind every leaf.

    That is the price: the other species are called squirrel monkeys more often, and overall
    accuracy rarely rises. The best squirrel monkey recall earns a title if the rest stays within 5
    points of the median team's. Weights of 2 to 5 are a fair deal. Higher ones make the steps of
    training uneven, which a lower learning rate soothes. An image weighs against the others of its
    batch, so in batches of 2 or 4 the weight does half of what it says; 16 and more bring it out.
    In an ensemble, one member may be the specialist.
    """

    title = "Herr Nilsson's Friend"
    plain_words = ("focus on one class", "class weight", "weighted cross-entropy", "class weights")
    without_effect = "a weight of 1 is what every class has"

    item: Literal["herr-nilssons-friend"]
    class_name: str = Field(default="n7", description="a class of the data; n7: squirrel monkeys")
    weight: float = Field(default=5, ge=0.001, le=100, description="how often the class counts")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Weigh one class; where its weight is that of the others, its name means nothing."""
        if self.weight == 1:
            return plan
        return changed(plan, "loss", focus_class=self.class_name, focus_weight=self.weight)

    def wasted_on(self, plan: MemberPlan) -> str | None:
        """An image weighs against the others of its batch, by its label."""
        if plan.distill is not None and plan.distill.alpha == 0:
            return "`alpha: 0` of wisdom-extractor leaves labels out of the loss"
        own_loss = plan.custom is not None and "build_loss" in plan.custom.defines
        if plan.batch_size == 1 and not own_loss:
            return "a batch of one image has no other to weigh it against"
        return None


class WisdomExtractor(Purchase):
    """The network also learns from a large trained network, its teacher.

    A label says `uakari` and nothing more. The teacher, a ResNet18 that knows these monkeys well,
    says: uakari 90 %, howler 8 %, capuchin 2 %. Which species look alike is knowledge, and your
    small network gets it with every image. This is called distillation.

    `temperature` softens the teacher's answers; at 1 they are nearly plain labels, at 3 to 5 the
    likenesses show, far above that all species look alike. `alpha` is the share of the true labels
    in the loss, and 0 trusts the teacher alone. Training takes longer, most of all with
    augmentation, since the teacher looks at every changed image again. Its loss adds to the length
    of the steps: with momentum or turbo blocks, take a smaller learning rate. And a network that is
    too small, or trained too briefly, to follow its teacher gains little.
    """

    title = "Wisdom Extractor"
    plain_words = ("knowledge distillation", "distillation", "teacher", "distill")

    item: Literal["wisdom-extractor"]
    temperature: float = Field(
        default=3,
        ge=0.1,
        le=100,
        description="higher: the teacher's less likely classes count more",
    )
    alpha: float = Field(
        default=0.5, ge=0, lt=1, description="share of the labels; the rest is the teacher's"
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Wrap the loss in distillation; the teacher is named once the data is known."""
        distill = DistillPlan(temperature=self.temperature, alpha=self.alpha)
        return plan.model_copy(update={"distill": distill})
