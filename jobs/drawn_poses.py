"""Poses that every drawn animal takes: joints, tail, gaze, and what holds it.

In: a random generator. Out: a `Pose`, jittered, the same distribution for every species. Next on
the path: `drawn_anatomy` grows a species on it.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jobs.drawn_brush import Points, points


@dataclass(frozen=True)
class Pose:
    """Joints (x, y) in torso lengths, y down; each limb is (3, 2): root, bend, end."""

    hip: Points  # (2,)
    chest: Points  # (2,)
    head: Points  # (2,)
    far_arm: Points  # the far side is the one away from the viewer
    near_arm: Points
    far_leg: Points
    near_leg: Points
    tail_angle: float  # radians; 0 is forward, pi / 2 down, pi backward
    support: Literal["below", "above", "trunk"]
    is_frontal: bool = False  # the torso faces the viewer
    tail_bend: float = 0.0  # radians over the whole tail
    yaw: float = 0.0  # -1 looks backward, 0 at the viewer, 1 forward
    roll: float = 0.0  # radians, the head's tilt


SITS = Pose(
    hip=np.array([0.0, -0.25]),
    chest=np.array([0.2, -0.95]),
    head=np.array([0.34, -1.42]),
    far_arm=points((0.3, -0.85), (0.6, -0.55), (0.62, -0.1)),
    near_arm=points((0.2, -0.85), (0.42, -0.5), (0.4, -0.08)),
    far_leg=points((0.1, -0.2), (0.6, -0.42), (0.62, 0.0)),
    near_leg=points((0.02, -0.2), (0.48, -0.45), (0.42, 0.0)),
    tail_angle=2.4,
    support="below",
)
SITS_FACING = Pose(
    hip=np.array([0.0, -0.25]),
    chest=np.array([0.0, -0.92]),
    head=np.array([0.0, -1.38]),
    far_arm=points((-0.24, -0.85), (-0.46, -0.5), (-0.2, -0.1)),
    near_arm=points((0.24, -0.85), (0.46, -0.5), (0.2, -0.1)),
    far_leg=points((-0.15, -0.2), (-0.6, -0.38), (-0.36, 0.0)),
    near_leg=points((0.15, -0.2), (0.6, -0.38), (0.36, 0.0)),
    tail_angle=2.7,
    support="below",
    is_frontal=True,
)
WALKS = Pose(
    hip=np.array([-0.5, -0.72]),
    chest=np.array([0.4, -0.78]),
    head=np.array([0.82, -1.08]),
    far_arm=points((0.44, -0.7), (0.3, -0.35), (0.24, 0.0)),
    near_arm=points((0.36, -0.7), (0.44, -0.35), (0.52, 0.0)),
    far_leg=points((-0.44, -0.62), (-0.62, -0.35), (-0.34, 0.0)),
    near_leg=points((-0.5, -0.62), (-0.32, -0.35), (-0.6, 0.0)),
    tail_angle=3.6,
    support="below",
)
HANGS = Pose(
    hip=np.array([-0.05, 1.55]),
    chest=np.array([0.05, 0.8]),
    head=np.array([0.3, 0.5]),
    far_arm=points((0.1, 0.78), (0.4, 0.9), (0.46, 1.25)),
    near_arm=points((-0.02, 0.78), (-0.14, 0.38), (-0.05, 0.0)),
    far_leg=points((0.0, 1.5), (0.26, 1.8), (-0.02, 2.1)),
    near_leg=points((-0.05, 1.5), (0.34, 1.6), (0.26, 2.0)),
    tail_angle=2.0,
    support="above",
)
CLINGS = Pose(
    hip=np.array([0.0, -0.2]),
    chest=np.array([0.1, -0.95]),
    head=np.array([0.22, -1.42]),
    far_arm=points((0.2, -0.9), (0.5, -0.85), (0.66, -1.05)),
    near_arm=points((0.1, -0.9), (0.42, -1.1), (0.6, -1.4)),
    far_leg=points((0.05, -0.2), (0.44, -0.05), (0.64, 0.25)),
    near_leg=points((0.0, -0.2), (0.42, -0.45), (0.6, -0.1)),
    tail_angle=2.0,
    support="trunk",
)
LIES = Pose(
    hip=np.array([-0.5, -0.2]),
    chest=np.array([0.35, -0.24]),
    head=np.array([0.76, -0.42]),
    far_arm=points((0.4, -0.18), (0.6, 0.02), (0.8, 0.02)),
    near_arm=points((0.32, -0.15), (0.38, 0.25), (0.3, 0.6)),
    far_leg=points((-0.45, -0.15), (-0.25, 0.04), (-0.05, 0.05)),
    near_leg=points((-0.5, -0.12), (-0.4, 0.2), (-0.55, 0.55)),
    tail_angle=2.6,
    support="below",
)
POSES = (SITS, SITS_FACING, WALKS, HANGS, CLINGS, LIES)
REACHING_ARM = points((0.0, 0.0), (0.4, -0.25), (0.4, -0.75))  # from its root


def random_pose(rng: np.random.Generator) -> Pose:
    """One of the poses with every joint, the tail and the gaze jittered."""
    pose = POSES[rng.integers(len(POSES))]
    near_arm = pose.near_arm
    if pose.support == "below" and rng.random() < 0.2:
        near_arm = near_arm[0] + REACHING_ARM

    def jitter(joints: Points) -> Points:
        return joints + rng.normal(0, 0.045, joints.shape)

    return replace(
        pose,
        hip=jitter(pose.hip),
        chest=jitter(pose.chest),
        head=jitter(pose.head),
        far_arm=jitter(pose.far_arm),
        near_arm=jitter(near_arm),
        far_leg=jitter(pose.far_leg),
        near_leg=jitter(pose.near_leg),
        tail_angle=pose.tail_angle + rng.normal(0, 0.45),
        tail_bend=rng.normal(0, 2.2),
        yaw=rng.uniform(-0.9, 0.9),
        roll=rng.normal(0, 0.22),
    )


def with_limbs(pose: Pose, limb_length: float) -> Pose:
    """The pose with limbs `limb_length` times as long; their roots stay where they are."""

    def grow(limb: Points) -> Points:
        grown: Points = limb[0] + (limb - limb[0]) * limb_length
        return grown

    return replace(
        pose,
        far_arm=grow(pose.far_arm),
        near_arm=grow(pose.near_arm),
        far_leg=grow(pose.far_leg),
        near_leg=grow(pose.near_leg),
    )
