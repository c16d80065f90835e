"""fanout completion: the script that completes verbs, options, lanes and providers."""

import os
from pathlib import Path

import click

_INSTALL = {
    "bash": "fanout completion bash > ~/.local/share/bash-completion/completions/fanout",
    "zsh": 'fanout completion zsh > "${fpath[1]}/_fanout"',
    "fish": "fanout completion fish > ~/.config/fish/completions/fanout.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_INSTALL)), required=False, metavar="[bash|zsh|fish]")
def completion(shell: str | None) -> None:
    """Print the completion script for a shell (default: the one in SHELL), and on stderr how to install it."""
    from click.shell_completion import get_completion_class

    from fanout.cli import fanout
    from fanout.cli.shells import COMPLETE, register

    register()
    shell = shell or Path(os.environ.get("SHELL", "")).name
    maker = get_completion_class(shell)
    if shell not in _INSTALL or maker is None:
        raise click.UsageError(f"which shell? Write fanout completion {'|'.join(_INSTALL)}")
    click.echo(maker(fanout, {}, "fanout", COMPLETE).source(), nl=False)
    click.echo(f"To install it: {_INSTALL[shell]}", err=True)
