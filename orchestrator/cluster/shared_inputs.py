"""What members train on, in Ray's object store: put there once, mapped by every slot of a node.

In: a plan, and functions that give the images and the teaching it names. Out: references to both,
for `slots` to hand to a slot.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from jobs.images import LabelledImages
from jobs.plan import DataPlan, MemberPlan
from jobs.values import Teaching
from orchestrator.errors import ClusterError, first_line
from orchestrator.teaching.teachings import TeachingKey, teaching_key


class SharedInputs:
    """References to images and teachings, each asked for when the first member needs it.

    `before_put` is called before Ray is asked to take something, and raises where it is gone.
    """

    def __init__(
        self,
        images: Callable[[DataPlan], LabelledImages],
        teaching: Callable[[MemberPlan], Teaching | None],
        before_put: Callable[[], None],
    ) -> None:
        self._images = images
        self._teaching = teaching
        self._before_put = before_put
        self._refs: dict[tuple[str, int] | TeachingKey, Any] = {}

    def of(self, plan: MemberPlan) -> list[Any]:
        """A reference to the plan's images, and to its teaching where it has one.

        Raises what the two functions raise, and `ClusterError` where they don't fit into the store.
        """
        data, key_of_teaching = plan.data, teaching_key(plan)
        key_of_images = (data.fingerprint, data.image_size_px)
        if key_of_images not in self._refs:
            images = self._images(data)
            # asarray: the images are a memory-mapped file, which other nodes do not have.
            self._put(key_of_images, replace(images, images=np.asarray(images.images)))
        if key_of_teaching is None:
            return [self._refs[key_of_images]]
        if key_of_teaching not in self._refs:
            self._put(key_of_teaching, self._teaching(plan))
        return [self._refs[key_of_images], self._refs[key_of_teaching]]

    def _put(self, key: tuple[str, int] | TeachingKey, value: object) -> None:
        self._before_put()
        try:
            self._refs[key] = ray.put(value)
        except RayError as error:
            raise ClusterError(
                f"Ray's object store cannot hold a member's images or teacher: "
                f"{first_line(error)}; `gamectl doctor` tells its room"
            ) from error
