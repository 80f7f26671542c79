"""What a loadout costs under a cohort's prices, line by line.

In: a loadout and a cohort; out: a `Receipt`. Pure. Next: `admit` holds it against the budget.
"""

from dataclasses import asdict, dataclass

from orchestrator.admission.cohort import Cohort
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.shop import unit_price_bnn


@dataclass(frozen=True)
class ReceiptLine:
    """One item on a receipt. `price_bnn` is the price of one unit."""

    item: str
    title: str
    quantity: int
    price_bnn: int
    total_bnn: int


@dataclass(frozen=True)
class Receipt:
    """What a loadout costs, line by line, and what the team may spend."""

    lines: tuple[ReceiptLine, ...]
    total_bnn: int
    budget_bnn: int

    def to_dict(self) -> dict[str, object]:
        """Return the receipt as JSON has it."""
        return {
            "lines": [asdict(line) for line in self.lines],
            "total_bnn": self.total_bnn,
            "budget_bnn": self.budget_bnn,
        }

    def __str__(self) -> str:
        costs = (
            f"{line.item} {line.total_bnn}"
            + (f" ({line.quantity} x {line.price_bnn})" if line.quantity > 1 else "")
            for line in self.lines
        )
        return f"{' + '.join(costs) or 'nothing'} = {self.total_bnn} B NN"


def receipt_of(loadout: Loadout, cohort: Cohort) -> Receipt:
    """Price a loadout. An item that is listed twice (a problem of its own) is charged once."""
    lines: dict[str, ReceiptLine] = {}
    for bought in loadout.spec.purchases:
        price_bnn = unit_price_bnn(bought.item, cohort.spec.prices)
        line = ReceiptLine(
            bought.item, bought.title, bought.quantity, price_bnn, bought.quantity * price_bnn
        )
        lines.setdefault(bought.item, line)
    total_bnn = sum(line.total_bnn for line in lines.values())
    return Receipt(tuple(lines.values()), total_bnn, cohort.spec.budget)
