"""`gamectl completion`: the script with which a shell completes commands, options and names.

In: the name of a shell. Out: click's script for it, which asks `gamectl` itself whenever somebody
presses Tab. What there is to offer is in `cli.completing`.
"""

from textwrap import indent

import click
from click.shell_completion import get_completion_class

from orchestrator import console

INSTALL = {
    "bash": """\
now:      source <(gamectl completion bash)
always:   echo 'source <(gamectl completion bash)' >> ~/.bashrc""",
    "zsh": """\
now:      source <(gamectl completion zsh)
always:   echo 'source <(gamectl completion zsh)' >> ~/.zshrc    (below `compinit`)""",
    "fish": """\
now:      gamectl completion fish | source
always:   gamectl completion fish > ~/.config/fish/completions/gamectl.fish""",
}


@click.command(
    "completion",
    epilog="""\b
    Example:
      gamectl completion bash
      gamectl completion fish > ~/.config/fish/completions/gamectl.fish""",
)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(list(INSTALL)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete what you type.

    The Tab key then offers commands, options, files, and the names of teams, cohorts and items.

    \b
    In bash (4.4 or newer), for this shell and for all later ones:
      source <(gamectl completion bash)
      echo 'source <(gamectl completion bash)' >> ~/.bashrc
    """
    maker = get_completion_class(shell)
    assert maker is not None, "click knows every shell of INSTALL"
    script = maker(ctx.find_root().command, {}, "gamectl", "_GAMECTL_COMPLETE").source()
    # zsh's script must begin with its own line, wherever it is kept.
    console.print_text(f"{script.strip()}\n\n{indent(INSTALL[shell], '# ')}")
