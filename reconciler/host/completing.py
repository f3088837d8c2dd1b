"""Completion scripts for shells, made from an argparse parser."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

FILES = "PATH"  # an argument with this metavar is a file


@dataclass(frozen=True)
class Word:
    """One option, or one argument by its place, of a command."""

    names: tuple[str, ...]  # of an option; none for an argument
    help: str
    takes_value: bool = False
    choices: tuple[str, ...] = ()
    files: bool = False


def commands(parser: argparse.ArgumentParser) -> Mapping[str, tuple[str, Sequence[Word]]]:
    """Every command with its help and its words; an empty name for those before the command."""
    inner = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in inner._choices_actions}
    open_words = _open_words()
    found = {name: (helps[name], tuple(_words(sub, open_words))) for name, sub in inner.choices.items()}
    return {"": ("", tuple(w for w in _words(parser, open_words) if w.names)), **found}


def _open_words() -> Mapping[str, tuple[str, ...]]:
    """What a value often is that may be anything, by its metavar."""
    # Late: the kinds take 100 ms, and whoever asks for help needs none of them.
    from reconciler.documents.kinds import every_kind
    from reconciler.host.following import PHASES

    kinds = tuple(sorted(every_kind()))
    return {
        "WHAT": ("status", "spec", *kinds),
        "FIELD": ("spec", "metadata", *kinds),
        "CONDITION": (*PHASES, *kinds),
    }


def _words(parser: argparse.ArgumentParser, open_words: Mapping[str, tuple[str, ...]]) -> Iterator[Word]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        choices = tuple(str(choice) for choice in (action.choices or open_words.get(metavar) or ()))
        yield Word(
            names=tuple(action.option_strings),
            help=" ".join((action.help or "").split()),
            # A value that may be left out is written with =; as the next word only if it is one of a few.
            takes_value=(action.nargs is None and bool(metavar))
            or (action.nargs in (None, "?") and bool(choices)),
            choices=choices,
            files=metavar == FILES,
        )


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    makers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return makers[shell](commands(parser))


def _bash(known: Mapping[str, tuple[str, Sequence[Word]]]) -> str:
    cases = []
    for name, (_, words) in known.items():
        options = " ".join(option for word in words for option in word.names)
        values = "".join(
            f"        {name}:{option}) {_bash_value(word)} ;;\n"
            for word in words
            if word.takes_value
            for option in word.names
        )
        open_words = [word for word in words if not word.names]
        rest = next((_bash_value(word) for word in open_words), f'words="{" ".join(filter(None, known))}"')
        if not name or open_words:
            options += f'"; {rest}'
        else:
            options += '"'
        cases.append((values, f'        {name or chr(34) * 2}) options="{options} ;;\n'))
    values_text = "".join(values for values, _ in cases)
    return _BASH.format(
        commands="|".join(filter(None, known)), values=values_text, rest="".join(rest for _, rest in cases)
    )


def _bash_value(word: Word) -> str:
    if word.files:
        return "files=1"
    return f'words="{" ".join(word.choices)}"'


_BASH = """\
# bash completion for reconciler
_reconciler() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command= words= options= files= position
    # The = of --option=value is a word by itself to bash.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    # Names of files may hold spaces: what is offered stands one a line.
    local IFS=$'\\n'
    COMPREPLY=()
    for ((position = 1; position < COMP_CWORD; position++)); do
        case ${{COMP_WORDS[position]}} in
        --)
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -c -f -- "$current"))
            return
            ;;
        {commands}) [[ -n $command ]] || command=${{COMP_WORDS[position]}} ;;
        esac
    done
    case $command:$previous in
{values}        *)
        case $command in
{rest}        esac
        [[ $current == -* ]] && words=$options files=
        ;;
    esac
    if [[ -n $files ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current"))
        return
    fi
    COMPREPLY=($(compgen -W "${{words// /$'\\n'}}" -- "$current"))
}}
complete -F _reconciler reconciler
"""


def _zsh(known: Mapping[str, tuple[str, Sequence[Word]]]) -> str:
    listed = " ".join(_quoted(f"{name}:{text}") for name, (text, _) in known.items() if name)
    before = " ".join(_zsh_word(word) for word in known[""][1])
    cases = "".join(
        f"    {name}) _arguments -S {' '.join(_zsh_word(word) for word in words)} ;;\n"
        for name, (_, words) in known.items()
        if name
    )
    return (
        "#compdef reconciler\n_reconciler() {\n"
        f"    local -a commands=({listed})\n"
        f"    if ((CURRENT == 2)); then _describe command commands; _arguments {before}; return; fi\n"
        "    local command=$words[2]\n    shift words; ((CURRENT--))\n    case $command in\n"
        f"{cases}    esac\n}}\n"
        'if [[ $funcstack[1] == _reconciler ]]; then _reconciler "$@"\n'
        "else compdef _reconciler reconciler; fi\n"
    )


def _zsh_word(word: Word) -> str:
    value = "_files" if word.files else f"({' '.join(word.choices)})" if word.choices else " "
    if not word.names:
        return _quoted(f"*::{_plain(word.help) or ' '}:{value}")
    tail = f":value:{value}" if word.takes_value else ""
    return " ".join(_quoted(f"*{name}[{_plain(word.help)}]{tail}") for name in word.names)


def _plain(text: str) -> str:
    """Without what _arguments reads as its own signs."""
    return text.replace("[", "(").replace("]", ")").replace(":", ";")


def _fish(known: Mapping[str, tuple[str, Sequence[Word]]]) -> str:
    lines = ["# fish completion for reconciler", "complete -c reconciler -f"]
    for name, (text, words) in known.items():
        if name:
            lines.append(f"complete -c reconciler -n __fish_use_subcommand -a {name} -d {_quoted(text)}")
        where = f"'__fish_seen_subcommand_from {name}'" if name else "__fish_use_subcommand"
        lines += [f"complete -c reconciler -n {where} {_fish_word(word)}" for word in words]
    return "\n".join(lines) + "\n"


def _fish_word(word: Word) -> str:
    names = [f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in word.names]
    value = "-F" if word.files else f"-a {_quoted(' '.join(word.choices))}" if word.choices else ""
    needs = "-r" if word.takes_value else ""
    return " ".join(filter(None, [*names, needs, value, f"-d {_quoted(word.help)}"]))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"
