"""A training step beside the plain loop over modules, and beside the processor's limits.

In: nothing. Out: rows for MonkeyNET with none, one and two turbo boosts, batches of 8 and 32, in
float32 and, where the processor has it, bfloat16. One thread, images in memory, nothing augmented.

The plain loop calls the network's modules as they stand and is what a notebook would do; bfloat16
is `torch.autocast` around it. The roofline is what the step's multiplications, of direct
convolutions, would take at the rate of a large matrix product, or its images, weights and feature
maps at the rate of a memory copy, whichever is longer; both rates are measured in the same run.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.fused import fuse
from jobs.memory import keep_freed_memory
from jobs.monkeynet import build_model
from jobs.plan import ModelPlan
from jobs.reproducible import reproducible
from tests.bench.rows import Row, faster, figure, in_turns, print_rows, skipped

SIZE_PX = 64
CLASSES = 10
BATCHES = (8, 32)
NAMES = ("base", "1 boost", "2 boosts")
TARGETS = {"fp32": 1.2, "bf16": 1.5}


def rows(quick: bool) -> Iterator[Row]:
    """Steps of all networks; the ratio is to the plain loop in float32."""
    keep_freed_memory()
    repeats = 5 if quick else 31
    has_bf16 = torch.cpu._is_avx512_bf16_supported()
    with reproducible(1, "cpu", 0):
        for turbo_blocks, network in enumerate(NAMES):
            for batch in BATCHES:
                torch.manual_seed(0)
                model = build_model(ModelPlan(turbo_blocks=turbo_blocks), CLASSES, SIZE_PX)
                ours = copy.deepcopy(model)
                fuse(ours, "cpu")
                images = torch.rand(batch, 3, SIZE_PX, SIZE_PX)
                ways = {
                    "theirs": step(model, images, bf16=False),
                    "fp32": step(ours, images, bf16=False),
                }
                if has_bf16:
                    ways["theirs in bf16"] = step(model, images, bf16=True)
                    ways["bf16"] = step(ours, images, bf16=True)
                taken_s = in_turns(ways, repeats, warm_ups=3)
                roof_s = roofline_s(model, images)
                for precision, target in TARGETS.items():
                    name = f"training step, {network}, batch {batch}, {precision}"
                    if precision not in taken_s:
                        yield skipped(name, "this processor has no bfloat16 of its own")
                        continue
                    ours_s = taken_s[precision]
                    note = f"{ours_s / roof_s:.2f} x the fp32 roofline of {roof_s * 1e3:.1f} ms"
                    if precision == "bf16":
                        plain = taken_s["theirs in bf16"]
                        note = f"{plain / ours_s:.2f} x the plain loop in bf16; {note}"
                    yield faster(
                        name,
                        ours_s * 1e3,
                        taken_s["theirs"] * 1e3,
                        "ms",
                        target,
                        "the plain module loop in fp32",
                        note,
                    )
        yield figure("a matrix product of one core", flops_per_s() / 1e9, "GFLOP/s")
        yield figure("a memory copy of one core", bytes_per_s() / 1e9, "GB/s")


def step(model: nn.Module, images: Tensor, bf16: bool) -> Callable[[], None]:
    """One whole step of stochastic gradient descent."""
    labels = torch.arange(len(images)) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def one_step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images).float()
        loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return one_step


def roofline_s(model: nn.Module, images: Tensor) -> float:
    """The shortest time that a step could take by these rates, in float32.

    Multiplications: of each layer's outputs, once forward and once for the weights, and once more
    for what came in, but for the images. Memory: what a layer takes and gives, read or written once
    in each direction, and weights four times.
    """
    flops, num_bytes = 0.0, 0.0

    def count(layer: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
        nonlocal flops, num_bytes
        weight = layer.weight
        assert isinstance(weight, Tensor)
        per_output = weight[0].numel()
        times = 2 if given[0] is images else 3
        flops += 2.0 * made.numel() * per_output * times
        num_bytes += 4.0 * (2 * given[0].numel() + 2 * made.numel() + 4 * weight.numel())

    hooks = [
        layer.register_forward_hook(count)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    return max(flops / flops_per_s(), num_bytes / bytes_per_s())


def flops_per_s(side: int = 1024) -> float:
    """Of a float32 matrix product."""
    left, right = torch.rand(side, side), torch.rand(side, side)
    return 2 * side**3 / _median_s(lambda: left @ right)


def bytes_per_s(size: int = 1 << 26) -> float:
    """Of a copy that no cache holds, read and written bytes counted."""
    source = torch.rand(size // 4)
    target = torch.empty_like(source)
    return 2 * size / _median_s(lambda: target.copy_(source))


def _median_s(work: Callable[[], object], repeats: int = 5) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds)


if __name__ == "__main__":
    print_rows(rows, "Training steps beside the plain module loop and the roofline.")
