"""The format of a loadout: a team's free settings and what it bought.

In: the values of a YAML file with `kind: Loadout`; out: a `Loadout`, of which everything is within
its own bounds. Whether a cohort admits it is `admit`'s question.
"""

from typing import Literal, Self

from pydantic import Field

from jobs.plan import CustomPlan
from orchestrator.admission.enchanter import EnsembleEnchanter
from orchestrator.admission.items.custom import Custom
from orchestrator.admission.manifest import (
    ApiVersion,
    BatchSize,
    Epochs,
    Label,
    LearningRate,
    Listed,
    Model,
    Seed,
)
from orchestrator.admission.shop import AnyPurchase


class LoadoutMetadata(Model):
    """Whose loadout it is."""

    team: Label = Field(description="the team's name: a DNS-1123 label")


class LoadoutSpec(Model):
    """What is trained."""

    learning_rate: LearningRate = 0.01
    batch_size: BatchSize = 8
    epochs: Epochs = 20
    seed: Seed = 0
    purchases: Listed[AnyPurchase] = Field(
        default=(), max_length=50, description="what was bought in the shop, each item once"
    )


class Loadout(Model):
    """A team's settings and purchases for the Classification Game."""

    api_version: ApiVersion
    kind: Literal["Loadout"]
    metadata: LoadoutMetadata
    spec: LoadoutSpec = LoadoutSpec()

    @property
    def team(self) -> str:
        """The team's name."""
        return self.metadata.team

    @property
    def code(self) -> CustomPlan | None:
        """The team's own code, if it was bought and its file could be read."""
        bought = (item for item in self.spec.purchases if isinstance(item, Custom))
        return next((item.code for item in bought), None)

    def with_code(self, code: CustomPlan) -> Self:
        """Return the loadout with its team's file read."""
        purchases = tuple(
            item.with_code(code) if isinstance(item, Custom) else item
            for item in self.spec.purchases
        )
        spec = self.spec.model_copy(update={"purchases": purchases})
        return self.model_copy(update={"spec": spec})

    @property
    def ensemble(self) -> EnsembleEnchanter | None:
        """The ensemble that was bought, if any."""
        bought = (item for item in self.spec.purchases if isinstance(item, EnsembleEnchanter))
        return next(bought, None)

    @property
    def num_members(self) -> int:
        """How many networks the job trains."""
        return len(self.ensemble.members) if self.ensemble else 1
