"""Team code that forges answers, guesses, or ends its process: only its own job fails."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from jobs.custom.parent import predict_custom
from jobs.custom.usage import descendants
from jobs.errors import SandboxError, TeamCodeError
from jobs.plan import CustomPlan, SandboxRules
from tests.jobs.hostile import FORGED, NETWORK, Attempt, needs_sandbox

pytestmark = [pytest.mark.slow, needs_sandbox]


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ('os.write(3, b\'{"kind": "epoch", "sizes": [-5]}\\n\')', "blobs of"),
        ("probs[3, 1] = np.nan; send('epoch', epoch, [probs.tobytes(), b'x'])", "not all finite"),
        ("os.close(3)", "closed its channel"),
        ("os._exit(0)", "its process ended (exit status 0) before it was done"),
    ],
)
def test_a_forged_answer_is_the_teams_failure(attempt: Attempt, forged: str, said: str) -> None:
    error = attempt.failure(FORGED + forged + "\ntime.sleep(100)\n")
    assert type(error) is TeamCodeError
    assert str(error).startswith("net.py: ")
    assert said in str(error)
    assert attempt.reports == []


def test_the_order_of_validation_images_does_not_tell_their_labels(attempt: Attempt) -> None:
    attempt.train("""
        import torch
        from torch import nn
        class Guess(nn.Module):
            '''The i-th of N validation images is of class i * C // N.'''
            def __init__(self, num_classes, size_px):
                super().__init__()
                self.trained = nn.Linear(3 * size_px**2, num_classes)
                self.num_classes, self.at = num_classes, 0
            def forward(self, images):
                logits = self.trained(images.flatten(1))
                if not self.training:
                    places = torch.arange(self.at, self.at + len(images))
                    self.at = (self.at + len(images)) % 15
                    classes = places * self.num_classes // 15 % self.num_classes
                    logits = 10.0 * nn.functional.one_hot(classes, self.num_classes).float()
                return logits
        def build_model(num_classes, size_px):
            return Guess(num_classes, size_px)
    """)
    assert attempt.reports[-1].val_accuracy < 0.9


def test_nothing_that_goes_in_tells_of_validation(attempt: Attempt) -> None:
    """A team's code sees all that its own process was told."""
    attempt.train(
        """
        import gc
        from torch import nn
        def build_model(num_classes, size_px):
            return nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes))
        def augment(images, generator):
            for one in gc.get_objects():
                if isinstance(one, dict) and any(
                    isinstance(one.get(name), (float, list))
                    for name in ("val_loss", "val_losses", "val_accuracy")
                ):
                    print("told", one)
            return images
    """,
        epochs=3,
    )
    assert len(attempt.reports) == 3
    assert b"told" not in attempt.printed


def test_one_that_is_asked_cannot_say_that_it_diverged(attempt: Attempt) -> None:
    custom = CustomPlan(
        file="net.py",
        source=NETWORK + "from jobs.errors import Diverged\nraise Diverged(1, 1, 0.1)\n",
        defines=("build_model",),
    )
    plan = attempt.plan.model_copy(update={"custom": custom})
    with pytest.raises(TeamCodeError, match=r"^net.py: .* diverged when it was asked"):
        predict_custom(plan, b"", attempt.data.images, SandboxRules(), lambda _: None)


def test_whoever_ends_a_sandbox_from_outside_is_not_the_team(attempt: Attempt) -> None:
    def kill() -> None:
        while b"here" not in attempt.printed:
            time.sleep(0.05)
        wall = next(pid for pid in descendants(os.getpid()) if "bwrap" in _program(pid))
        os.kill(wall, signal.SIGTERM)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    error = attempt.failure(FORGED + "print('here')\ntime.sleep(100)\n")
    killer.join()
    assert isinstance(error, SandboxError)
    assert "from outside" in str(error)


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""
