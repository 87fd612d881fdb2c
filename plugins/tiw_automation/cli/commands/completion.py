# SPDX-License-Identifier: Apache-2.0
"""``tiw completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print the completion of a shell.

    \b
    bash:  eval "$(tiw completion bash)"          in ~/.bashrc
    zsh:   eval "$(tiw completion zsh)"           in ~/.zshrc
    fish:  tiw completion fish > ~/.config/fish/completions/tiw.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    made = found(ctx.find_root().command, {}, "tiw", "_TIW_COMPLETE")
    click.echo(made.source())
