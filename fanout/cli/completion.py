"""fanout completion: the script that completes verbs, options, lanes and providers."""

import os
import re
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete, add_completion_class
from click.shell_completion import split_arg_string as split

_INSTALL = {
    "bash": "fanout completion bash > ~/.local/share/bash-completion/completions/fanout",
    "zsh": 'fanout completion zsh > "${fpath[1]}/_fanout"',
    "fish": "fanout completion fish > ~/.config/fish/completions/fanout.fish",
}

# Click's own scripts put a space after a provider, whose model is still to come; cut lists of lanes at their commas
# (fish); and take the words of a line as bash breaks them, which it does at the = of a label and the : of an address.

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' completion type value
    for completion in $(env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
            %(complete_var)s=bash_complete $1); do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            plain) COMPREPLY+=("$value"); [[ $value == */ ]] && compopt -o nospace ;;
        esac
    done
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a response ended open
    local type value descr
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s)}")
    for type value descr in ${response}; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain) if [[ $value == */ ]]; then open+=("$value:$descr"); else ended+=("$value:$descr"); fi ;;
        esac
    done
    (( $#ended )) && _describe -V ended ended -U
    (( $#open )) && _describe -V open open -U -S ''
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    for completion in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) \\
            %(prog_name)s)
        set -l found (string split -m 1 "," -- $completion)
        switch $found[1]
            case dir
                __fish_complete_directories $found[2]
            case file
                __fish_complete_path $found[2]
            case plain
                echo $found[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Bash(BashComplete):
    source_template = _BASH
    name = "bash"

    def get_completion_args(self) -> tuple[list[str], str]:
        """Splits the line up to the cursor as the shell will when it runs it."""
        line = os.environ["COMP_WORDS"]
        words = split(line)
        incomplete = "" if not words or line[-1:].isspace() else words.pop()
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Leaves out what stands before the last break: bash replaces only what comes after it."""
        value = item.value
        if item.type == "plain":
            breaks = re.escape("".join(c for c in "=:" if c in os.environ.get("COMP_WORDBREAKS", "")))
            value = re.split(f"[{breaks}]", value)[-1] if breaks else value
        return f"{item.type},{value}"


class _Zsh(ZshComplete):
    source_template = _ZSH
    name = "zsh"

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Writes three lines: the type, the value with its colons escaped, and what it is."""
        value = item.value.replace(":", r"\:")
        return f"{item.type}\n{value}\n{item.help or item.value}"


class _Fish(FishComplete):
    source_template = _FISH
    name = "fish"


def register() -> None:
    """Has click answer the shells as our scripts ask."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)


@click.command()
@click.argument("shell", type=click.Choice(list(_INSTALL)), required=False, metavar="[bash|zsh|fish]")
def completion(shell: str | None) -> None:
    """Print the completion script for a shell (default: the one in SHELL), and on stderr how to install it."""
    from click.shell_completion import get_completion_class

    from fanout.cli import fanout

    register()
    shell = shell or Path(os.environ.get("SHELL", "")).name
    maker = get_completion_class(shell)
    if shell not in _INSTALL or maker is None:
        raise click.UsageError(f"which shell? Write fanout completion {'|'.join(_INSTALL)}")
    click.echo(maker(fanout, {}, "fanout", "_FANOUT_COMPLETE").source(), nl=False)
    click.echo(f"To install it: {_INSTALL[shell]}", err=True)
