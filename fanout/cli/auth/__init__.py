"""fanout auth: the logins that are kept on this machine. It shows no secret."""

import click

from fanout.cli.auth.check import check
from fanout.cli.auth.import_ import import_
from fanout.cli.auth.list_ import list_
from fanout.cli.auth.logout import logout


@click.group(subcommand_metavar="VERB ...")
def auth() -> None:
    """Keep the logins to services that want one, in files that only you can read.

    On a machine with a display `fanout login NAME` is easier. A stored login goes before one in a variable
    (FANOUT_HUGGINGCHAT_COOKIE, FANOUT_HAILUO_TOKEN, FANOUT_AURA_COOKIE).
    """


for _verb in (import_, check, list_, logout):
    auth.add_command(_verb)
