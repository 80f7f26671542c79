"""A team's file, imported: what it raises is told with its line."""

import textwrap
from multiprocessing.util import Finalize

import pytest
import torch

from jobs.custom.team_code import TeamFailure, blamed, load
from jobs.errors import Diverged
from jobs.reproducible import reproducible
from tests.jobs.team_files import NETWORK, build_network, import_file, team_file

pytestmark = pytest.mark.usefixtures("forget_team_code")


@pytest.mark.parametrize(
    ("source", "error", "line"),
    [
        ("x = 1\ny = x / 0\n\ndef augment(images, generator): ...", "ZeroDivisionError", 2),
        ("import no_such_module_here", "ModuleNotFoundError", 1),
        ("def augment(images, generator)\n    ...", "SyntaxError", 1),
        ("x = 1\nx = '\x00'", "SyntaxError", None),
        ("import sys\n\nsys.exit(3)", "SystemExit", 3),
        ("\nraise KeyboardInterrupt", "KeyboardInterrupt", 2),
        ("def f():\n    return f()\nf()", "RecursionError", 2),
        ("augment = 3", "TypeError", None),
    ],
)
def test_a_file_that_cannot_be_imported(source, error, line):
    with pytest.raises(TeamFailure) as caught:
        import_file(source, "augment")
    failure = caught.value
    assert (failure.error, failure.line, failure.where) == (error, line, "import")


def test_the_line_is_the_innermost_of_the_teams_own():
    """Not torch's, which raises here, and not the outer one that calls it."""
    source = NETWORK.format("Net(num_classes)") + textwrap.dedent("""
        class Net(nn.Module):
            def __init__(self, num_classes):
                super().__init__()
                self.head = nn.Linear(17, num_classes)

            def forward(self, images):
                return self.classify(images.flatten(1))

            def classify(self, features):
                return self.head(features)  # line 16
    """)
    with pytest.raises(TeamFailure) as caught:
        import_file(source).build_model(5, 8)
    failure = caught.value
    assert (failure.error, failure.line, failure.where) == ("RuntimeError", 16, "build_model")
    assert "(2x192 and 17x5)" in failure.message
    assert not failure.out_of_memory


def test_a_function_that_takes_other_arguments():
    with pytest.raises(TeamFailure, match="takes 1 positional argument") as caught:
        import_file("\n\ndef build_model(classes):\n    ...").build_model(5, 8)
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("statement", "error", "message"),
    [
        ("raise ValueError('x' * 10_000)", "ValueError", "x" * 2000),
        ("raise ValueError('\\ud800')", "ValueError", "?"),
        ("raise Mute", "Mute", "(its message cannot be read)"),
        ("raise MemoryError", "MemoryError", "there is no memory left"),
    ],
)
def test_messages_of_any_kind(statement, error, message):
    source = f"""
class Mute(Exception):
    def __str__(self):
        raise ValueError

def augment(images, generator):
    {statement}
"""
    with pytest.raises(TeamFailure) as caught:
        import_file(source).augment(torch.zeros(1, 3, 8, 8), torch.Generator())
    failure = caught.value
    assert (failure.error, failure.message, failure.line) == (error, message, 7)
    assert failure.out_of_memory is (error == "MemoryError")


def test_torch_without_memory():
    network = "nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, 2**40))"
    with pytest.raises(TeamFailure) as caught:
        build_network(network)
    assert caught.value.out_of_memory
    assert caught.value.line == 5


def test_divergence_is_not_blamed_on_a_line():
    with (
        pytest.raises(Diverged),
        blamed(team_file("def augment(images, generator): ..."), "training"),
    ):
        raise Diverged(1, 2, 0.1)


def test_a_batch_of_one_image_is_named():
    source = """
from torch import nn

def augment(images, generator):
    return nn.BatchNorm1d(3)(images.mean((2, 3)))
"""
    with pytest.raises(TeamFailure) as caught:
        import_file(source).augment(torch.zeros(1, 3, 8, 8), torch.Generator())
    assert caught.value.line == 5
    assert "was given a batch of one image, as an epoch's last one may be" in caught.value.message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file"), "multiprocessing needs for its locks"),
        (FileNotFoundError(2, "No such file", "x.npy"), "No such file: 'x.npy'"),
    ],
)
def test_what_multiprocessing_does_not_have_is_named(error: Exception, said: str):
    def fail() -> None:
        raise error

    custom = team_file("def augment(images, generator): ...")
    with pytest.raises(TeamFailure) as caught, blamed(custom, "training"):
        Finalize(None, fail, exitpriority=0)()  # multiprocessing calls it
    assert said in caught.value.message


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), FileNotFoundError("mine")])
def test_what_others_do_not_find_is_said_in_their_words(error: Exception):
    custom = team_file("def augment(images, generator): ...")
    with pytest.raises(TeamFailure) as caught, blamed(custom, "training"):
        raise error
    assert caught.value.message == str(error)


def test_a_compiler_that_a_sandbox_does_not_have_is_named():
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler  # loads a compiler

    custom = team_file("def build_model(num_classes, size_px): ...")
    for error in (CppCompileError(["g++"], "no Python.h"), InvalidCxxCompiler()):
        with pytest.raises(TeamFailure) as caught, blamed(custom, "training"):
            raise error
        assert "torch.compile needs a compiler" in caught.value.message


def test_a_precision_that_the_game_sets_is_named():
    source = """
import torch

torch.backends.mkldnn.matmul.fp32_precision = "bf16"

def augment(images, generator):
    return images
"""
    custom = team_file(source)
    try:
        load(custom)
        with (
            pytest.raises(TeamFailure) as caught,
            blamed(custom, "training"),
            reproducible(1, "cpu", 0),
        ):
            pass
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"
    assert "sets an fp32_precision of torch's" in caught.value.message


def test_torchs_advice_on_determinism_is_not_for_teams():
    source = """
from torch.nn import functional

def augment(images, generator):
    pooled, places = functional.max_pool2d(images, 2, return_indices=True)
    return functional.max_unpool2d(pooled, places, 2)
"""
    augment = import_file(source).augment
    with reproducible(1, "cpu", 0), pytest.raises(TeamFailure) as caught:
        augment(torch.zeros(1, 3, 8, 8), torch.Generator())
    assert caught.value.line == 6
    assert caught.value.message == (
        "torch computes max_unpooling2d_forward_out differently every time; use another layer"
    )
