"""`python -m orchestrator`: the command `gamectl` without its script.

In: the words after it; out: an exit code. Used to start a controller in a process of its own by
`attend`, wherever the script may lie. Next on the path: `cli`.
"""

from orchestrator.cli import run

if __name__ == "__main__":  # a process that it spawns imports this module, too
    run()
