"""An error's words for the team, where its own are a riddle.

In: what team code raised, inside a sandbox. Out: a message that the team can do something with.
Used by `jobs.custom.team_code`.
"""

import traceback

MAX_MESSAGE_CHARS = 2000
NOT_COMPILED = (
    "torch.compile needs a compiler and Python's headers, and a sandbox does not have them: leave "
    "it out"
)
NO_NETWORK = (
    "there is no network in a sandbox: leave out whatever downloads, pretrained weights among them"
)
RIDDLES = {
    "Expected more than 1 value per channel": (
        "a layer that normalizes over the batch was given a batch of one image, as an epoch's last "
        "one may be: choose another batchSize, or another layer"
    ),
    "mix of the legacy and new APIs": (
        "the file sets an fp32_precision of torch's, and so does the game, for everybody alike: "
        "leave it out"
    ),
    "urlopen error": NO_NETWORK,
    "name resolution": NO_NETWORK,
    "Name or service not known": NO_NETWORK,
    "Network is unreachable": NO_NETWORK,
    "C++ compile error": NOT_COMPILED,
    "No working C++ compiler": NOT_COMPILED,
}
"""What torch says that a team can do nothing with, and what is said instead."""
NO_LOCKS = (
    "there is no shared memory in a sandbox, which multiprocessing needs for its locks: do without "
    "it, and without num_workers in a DataLoader"
)


def words_of(error: BaseException) -> str:
    """Return an error's own words or better ones; a team's class may have none, or fail to."""
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        operation, refused, _ = str(text).partition(" does not have a deterministic implementation")
        if refused:  # torch goes on to advise what teams have no say in
            text = f"torch computes {operation} differently every time; use another layer"
        nameless = isinstance(error, FileNotFoundError) and error.filename is None
        if nameless and _raised_by(error, "multiprocessing"):
            text = NO_LOCKS
        text = next((words for sign, words in RIDDLES.items() if sign in str(text)), str(text))
        # What has no UTF-8 could not be kept or shown anywhere.
        return text[:MAX_MESSAGE_CHARS].encode(errors="replace").decode()
    except Exception:
        return "(its message cannot be read)"


def _raised_by(error: BaseException, package: str) -> bool:
    """Whether code of a package of Python's own was at work."""
    frames = traceback.walk_tb(error.__traceback__)
    names = (frame.f_globals.get("__name__", "") for frame, _ in frames)
    return any(str(name).partition(".")[0] == package for name in names)
