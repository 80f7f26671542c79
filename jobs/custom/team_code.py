"""A team's file, imported; the functions that it defines, each behind a check of what it returns.

In: a `CustomPlan`. Out: `Techniques` for `jobs.train.train_on`, or a `TeamFailure` with the team's
file and line. Runs team code, so it is imported by `jobs.custom.child` only, in a sandbox.

The checks are there for good messages. Nothing relies on them: the team's code shares this process
and can undo whatever is done here.
"""

import linecache
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from jobs.custom.error_messages import MAX_MESSAGE_CHARS, words_of
from jobs.errors import Diverged
from jobs.plan import CustomPlan, TeamFunction
from jobs.training_io import Loss, Techniques
from jobs.training_state import own

Where = Literal["import", "build_model", "build_loss", "augment", "training"]

# What the module is known as: a file may be called like a module of Python's own.
MODULE = "team_code"
NUM_TRIED = 2  # images that a new network is tried with
NO_ROOM = ("can't allocate memory", "std::bad_alloc", "CUDA error: out of memory", "_ALLOC_FAILED")


class TeamFailure(Exception):
    """Team code raised, or returned something else than it should."""

    def __init__(
        self,
        error: str,
        message: str,
        file: str,
        line: int | None,
        where: Where,
        out_of_memory: bool = False,
    ) -> None:
        """Take what the team needs to know.

        Args:
            error: the class of what was raised.
            message: its words.
            file: the team's file.
            line: of that file; None where nothing of it was running.
            where: the function that failed, or what was going on.
            out_of_memory: whether there was no memory left.
        """
        super().__init__(error, message, file, line, where, out_of_memory)
        self.error = error
        self.message = message[:MAX_MESSAGE_CHARS]
        self.file = file
        self.line = line
        self.where = where
        self.out_of_memory = out_of_memory


class _Unfit(Exception):
    """What a function of the team returned is not what is needed."""


def load(custom: CustomPlan, device: str = "cpu") -> Techniques:
    """Import a team's file; return what it defines, with checks around it.

    Each function raises `TeamFailure` where the team's code raises, and where it returns something
    of another type, shape or number format than asked for. A network is tried with a few black
    images first, in evaluation mode, which leaves torch's random states as they were.

    Raises:
        TeamFailure: the file cannot be imported, or does not define what the plan says.
    """
    with blamed(custom, "import"):
        module = _imported(custom)
        for name in custom.defines:
            if not callable(getattr(module, name, None)):
                raise _Unfit(f"{name} is not a function of the file")
    functions: dict[TeamFunction, Callable[..., Any]] = {
        name: getattr(module, name) for name in custom.defines
    }

    def build_model(num_classes: int, size_px: int) -> nn.Module:
        with blamed(custom, "build_model"):
            network = functions["build_model"](num_classes, size_px)
            return _tried(network, num_classes, size_px, device)

    def build_loss(class_weights: Tensor | None) -> Loss:
        with blamed(custom, "build_loss"):
            loss_of = functions["build_loss"](class_weights)
            if not callable(loss_of):
                raise _Unfit(
                    f"build_loss returned {_named(loss_of)}; a function of logits and targets is "
                    "needed"
                )

        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            with blamed(custom, "build_loss"):
                return _checked_loss(loss_of(logits, targets))

        return loss

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        with blamed(custom, "augment"), torch.no_grad():
            return _checked_images(functions["augment"](images, generator), images)

    return Techniques(
        build_model=build_model if "build_model" in functions else None,
        build_loss=build_loss if "build_loss" in functions else None,
        augment=augment if "augment" in functions else None,
    )


@contextmanager
def blamed(custom: CustomPlan, where: Where) -> Iterator[None]:
    """Turn whatever is raised inside into a `TeamFailure`, `SystemExit` included.

    `Diverged` passes, as does a `TeamFailure` that knows better where it comes from.
    """
    try:
        yield
    except (TeamFailure, Diverged):
        raise
    except BaseException as error:
        raise _failure(error, custom, where) from error


def _failure(error: BaseException, custom: CustomPlan, where: Where) -> TeamFailure:
    message = words_of(error)
    line = _line(error, custom.file) or _first_line(where, custom.file)
    name = "TypeError" if isinstance(error, _Unfit) else type(error).__name__
    if isinstance(error, MemoryError):
        message = message or "there is no memory left"
    room = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(words in message for words in NO_ROOM)
    )
    return TeamFailure(name, message, custom.file, line, where, room)


def _line(error: BaseException, file: str) -> int | None:
    """Return the team's line where an error arose: that of the innermost call from its file."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _first_line(where: Where, file: str) -> int | None:
    """Return where a function of the team begins: the place for what is wrong with its result."""
    code = getattr(getattr(sys.modules.get(MODULE), where, None), "__code__", None)
    if not isinstance(code, types.CodeType) or code.co_filename != file:
        return None
    return code.co_firstlineno


def _imported(custom: CustomPlan) -> types.ModuleType:
    # The traceback in the log then shows the lines themselves: there is no file to read them from.
    lines = custom.source.splitlines(keepends=True)
    linecache.cache[custom.file] = (len(custom.source), None, lines, custom.file)
    module = types.ModuleType(MODULE)
    module.__file__ = custom.file
    sys.modules[MODULE] = module  # dataclasses and typing look there
    if "\0" in custom.source:  # a ValueError of compile's until Python 3.11.4
        raise SyntaxError("source code string cannot contain null bytes")
    code = compile(custom.source, custom.file, "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102 - what this module is for, inside a sandbox
    return module


def _tried(network: object, num_classes: int, size_px: int, device: str) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise _Unfit(f"build_model returned {_named(network)}; a torch.nn.Module is needed")
    network = network.to(device)
    network.register_forward_hook(_Outputs(num_classes))
    modes = {module: module.training for module in network.modules()}
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        network.eval()
        network(torch.zeros(NUM_TRIED, 3, size_px, size_px, device=device))
    for module, mode in modes.items():
        module.training = mode
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise _Unfit("build_model's network has no parameters that can be trained")
    _check_state(network)
    return network


class _Outputs:
    """Checks a network's outputs; turns other floating-point formats into float32."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...], outputs: object) -> Tensor | None:
        wanted = (len(inputs[0]), self.num_classes)
        if not isinstance(outputs, Tensor):
            raise _Unfit(f"build_model's network gave {_named(outputs)}; a Tensor is needed")
        if outputs.shape != wanted:
            raise _Unfit(
                f"build_model's network gave {tuple(outputs.shape)} for {wanted[0]} images; "
                f"{wanted} is needed: one number for each image and class"
            )
        if not outputs.is_floating_point():
            raise _Unfit(f"build_model's network gave {outputs.dtype}; torch.float32 is needed")
        return None if outputs.dtype == torch.float32 else outputs.float()


def _check_state(network: nn.Module) -> None:
    """Raise for a network whose weights could not be kept."""
    state = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise _Unfit(
                f"build_model's network keeps {_named(value)} as {name}; only tensors can be kept: "
                "register them as buffers"
            )
        if value.layout != torch.strided or value.is_quantized:
            raise _Unfit(f"build_model's network keeps {name} in a sparse or quantized format")
    safetensors.torch.save(own(state))


def _checked_loss(loss: object) -> Tensor:
    if not isinstance(loss, Tensor):
        raise _Unfit(f"build_loss's function gave {_named(loss)}; a Tensor is needed")
    if loss.ndim != 0:
        raise _Unfit(
            f"build_loss's function gave shape {tuple(loss.shape)}; a single number is needed: "
            "take the mean, with .mean()"
        )
    if not loss.is_floating_point():
        raise _Unfit(f"build_loss's function gave {loss.dtype}; torch.float32 is needed")
    if not loss.requires_grad:
        raise _Unfit(
            "build_loss's function gave a number without a gradient: compute it from the logits "
            "with torch's functions, without .detach(), .item() or .argmax()"
        )
    return loss.float()


def _checked_images(changed: object, images: Tensor) -> Tensor:
    if not isinstance(changed, Tensor):
        raise _Unfit(f"augment returned {_named(changed)}; a Tensor is needed")
    if changed.shape != images.shape:
        raise _Unfit(
            f"augment returned shape {tuple(changed.shape)}; {tuple(images.shape)}, as it was "
            "given, is needed"
        )
    if not changed.is_floating_point():
        raise _Unfit(
            f"augment returned {changed.dtype}; torch.float32 with values from 0 to 1 is needed"
        )
    # On a GPU this would be a wait for the device in every step; there the loss tells, later.
    if changed.device.type == "cpu" and not changed.isfinite().all():
        raise _Unfit("augment returned images with values that are not finite numbers")
    return changed.detach().to(images.device, torch.float32)


def _named(value: object) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"
