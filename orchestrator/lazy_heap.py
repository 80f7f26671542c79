"""A heap whose entries can be replaced and removed.

In: items with their ranks, as they change. Out: the item of the lowest rank, in O(log n) amortised
over all changes. An entry that was replaced or removed stays in the heap until it comes to the
front, or until such entries outnumber the others: then the heap is built anew, so that memory is
linear in the items it holds. Used by `fair_queue`.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Rank = tuple[float, ...]
Item = TypeVar("Item", int, tuple[int, int])

SPARE_ENTRIES = 64


class LazyHeap(Generic[Item]):
    """Items by rank; the lowest is first, ties go to the lower item."""

    def __init__(self) -> None:
        self._ranks: dict[Item, Rank] = {}
        self._heap: list[tuple[Rank, Item]] = []

    def __len__(self) -> int:
        return len(self._ranks)

    @property
    def num_entries(self) -> int:
        """Entries in memory, those that no longer count included; at most 2 len(self) + 64."""
        return len(self._heap)

    def put(self, item: Item, rank: Rank) -> None:
        """Adds the item, or gives it another rank."""
        if self._ranks.get(item) == rank:
            return
        self._ranks[item] = rank
        heappush(self._heap, (rank, item))
        self._compact()

    def discard(self, item: Item) -> None:
        """Removes the item if it is there."""
        if self._ranks.pop(item, None) is not None:
            self._compact()

    def first(self) -> tuple[Rank, Item] | None:
        """The lowest rank and its item, which stays; None where there is no item."""
        heap = self._heap
        while heap:
            rank, item = heap[0]
            if self._ranks.get(item) == rank:
                return rank, item
            heappop(heap)
        return None

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._ranks) + SPARE_ENTRIES:
            self._heap = [(rank, item) for item, rank in self._ranks.items()]
            heapify(self._heap)
