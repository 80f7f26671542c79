"""`python -m orchestrator`: the command `gamectl`, with its script or without.

In: the words after it; out: an exit code. Used to start a controller in a process of its own by
`attend`, wherever the script may lie. Next on the path: `cli`, which is imported where Ctrl-C is
already an end like any other.
"""


def run() -> None:
    """What the script `gamectl` calls; raises `SystemExit`."""
    try:
        from orchestrator.cli import run as run_command
    except KeyboardInterrupt:  # nothing has begun, so there is nothing to say
        raise SystemExit(130) from None
    run_command()


if __name__ == "__main__":  # a process that it spawns imports this module, too
    run()
