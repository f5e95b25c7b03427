"""Manual pages and completion scripts, written from the commands themselves: `make docs`.

A page takes its examples from the command lines in README.md. Completion scripts hold every
word they offer: pressing TAB starts no process. Names of models, methods and measures come from the registries.
"""

import ast
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import typer

from avs_cli import __version__, cli
from avs_cli.core.fusion import MEASURES
from avs_cli.core.measures import PLAIN
from avs_cli.core.registry import Registry
from avs_cli.io.atomic import writing

ROOT = Path(__file__).resolve().parents[1]
# By command and option: options of one name may take other things.
REGISTRIES = {
    ("extract", "model"): Registry("model", "avs_cli.core.features", "load"),
    ("shots", "detector"): Registry("detector", "avs_cli.core.shots", "detect"),
    ("train", "head"): Registry("head", "avs_cli.core.heads", "build"),
    ("train", "objective"): Registry("objective", "avs_cli.core.objectives", "build"),
    ("fuse", "method"): Registry("method", "avs_cli.core.fusion", "fuse"),
    ("rerank", "method"): Registry("method", "avs_cli.core.reranking", "rerank"),
    ("eval", "measure"): Registry("measure", "avs_cli.core.measures", "score"),
}
# Options whose value is one of a registry's names, or a file: pages tell the names, completions offer files.
BESIDE_FILES = {
    ("train", "text"): Registry("text encoder", "avs_cli.core.text", "build"),
    ("distill", "text"): Registry("text encoder", "avs_cli.core.text", "build"),
    ("distill", "teacher"): Registry("teacher", "avs_cli.core.teachers", "build"),
    ("distill", "student"): Registry("head", "avs_cli.core.heads", "build"),
}
# Options that take more than these words, which are no registry's names.
OFFERED = {("fuse", "measure"): list(MEASURES)}
# What a registry offers to other options only: the score of a student is one dot product, which these heads' is not.
LEFT_OUT = {("distill", "student"): ("xclip", "xpool")}
REPEATS = " May be given more than once."
EXIT_CODES = {
    0: "done",
    1: "a bug: the traceback is on stderr",
    2: "wrong usage: an unknown option or name, or a combination that means nothing",
    3: "bad input: a file that is absent, broken, or does not fit the others",
    4: "something is not installed or not downloaded; the message says how to get it",
    5: "done, and some items are missing from the output; the ledger names them",
    129: "hung up: the terminal is gone (SIGHUP)",
    130: "interrupted (Ctrl-C)",
    143: "terminated (SIGTERM)",
}


class Parameter(NamedTuple):
    """What a user can give to a command.

    names    all spellings of an option; none for an argument
    value    what stands for its value in the text: FILE, NUMBER, a|b; "" for a flag
    words    the values it can have, where they are few or a registry's
    registry what the pages tell the names of, but for those of `left_out`
    """

    names: list[str]
    value: str
    words: list[str]
    help: str
    required: bool = False
    many: bool = False
    registry: Registry | None = None
    left_out: tuple[str, ...] = ()


def pages() -> dict[str, str]:
    """Every generated file: its path in the checkout and its text."""
    root = cli.build(cli.available())
    usage = examples((ROOT / "README.md").read_text(encoding="utf-8"))
    made = {"man/avs.1": program_page(root, usage)}
    for name, command in root.commands.items():
        made[f"man/avs-{name}.1"] = command_page(name, command, list(root.commands), usage)
    made["completions/avs.bash"] = bash(root)
    made["completions/_avs"] = zsh(root)
    made["completions/avs.fish"] = fish(root)
    return made


def examples(readme: str) -> list[str]:
    """The command lines in README.md's shell blocks, in its order, each once; a backslash at a line's end joins two.

    Lines of scripts, which hold variables, are no examples.
    """
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    shown = (" ".join(line.removeprefix("$ ").split()) for line in lines)
    return list(dict.fromkeys(line for line in shown if line.startswith("avs ") and "$" not in line))


def summary(text: str | None) -> str:
    """The first sentence of a help text, without its full stop."""
    first = " ".join((text or "").split("\n\n")[0].split())
    return re.split(r"(?<=[\w)])(?<!et al)(?<!pp)[.;](?:\s|$)", first, maxsplit=1)[0].rstrip(".")


def parameters(command: Any) -> list[Parameter]:
    """A command's arguments and options, in the order of its help."""
    function = inspect.unwrap(command.callback)
    hints = typing.get_type_hints(function)
    context = typer.Context(command)
    return [parameter(command.name, each, hints.get(each.name, str)) for each in command.get_params(context)]


def parameter(command: str, given: Any, hint: Any) -> Parameter:
    """One parameter of a command, from typer's object and the annotation behind it."""
    kind = plain(hint)
    option = given.param_type_name == "option"
    key = (command, cli.long_name(given) if option else "")
    registry = REGISTRIES.get(key)
    words = [str(choice) for choice in typing.get_args(kind)] if typing.get_origin(kind) is Literal else []
    words = words or OFFERED.get(key) or (offered(key, registry) if registry else [])
    value = "NUMBER" if kind in (int, float) else "|".join(words) if words and not registry else "TEXT"
    value = "" if option and given.is_flag else (given.metavar or (value if option else given.name.upper())).rstrip(".")
    text = sentence(given.help)
    default = given.show_default if isinstance(given.show_default, str) else given.default
    if value and not given.required and default not in (None, "", [], ()):
        values = default if isinstance(default, list | tuple) else [default]
        text += f" Default: {', '.join(f'{value:g}' if isinstance(value, float) else str(value) for value in values)}."
    many = typing.get_origin(bare(hint)) is list
    names = [*given.opts, *given.secondary_opts] if option else []
    return Parameter(
        names, value, words, text, given.required, many, registry or BESIDE_FILES.get(key), LEFT_OUT.get(key, ())
    )


def bare(hint: Any) -> Any:
    """A type without its None."""
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    return members[0] if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else hint


def plain(hint: Any) -> Any:
    """The type of one value: `list[int] | None` is int."""
    hint = bare(hint)
    return bare(typing.get_args(hint)[0]) if typing.get_origin(hint) in (list, tuple) else hint


def sentence(text: str | None) -> str:
    told = " ".join((text or "").split())
    return told if not told or told.endswith((".", "…")) else f"{told}."


# Manual pages


def program_page(root: Any, usage: list[str]) -> str:
    """avs(1): what the program is, its commands, and what holds for all of them."""
    commands = [(roff(f"avs-{name}", "(1)"), command.help) for name, command in root.commands.items()]
    about = [
        sentence(root.help),
        "Every stage reads and writes one of two things: a feature store (HDF5), named FILE or FILE::FEATURE, and a run"
        " in the six columns of TREC. stdout is data, all else is stderr, and - is a pipe. A store that comes through a"
        " pipe is kept in a temporary file while it is read.",
        "A model, method or measure is named by a spec: NAME, NAME:VARIANT or NAME:KEY=VALUE,KEY=VALUE.",
    ]
    return "".join(
        [
            title("avs"),
            section("NAME", [f"avs \\- {escape(lowered(summary(root.help)))}\n"]),
            section("SYNOPSIS", ["\\fBavs\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n"]),
            section("DESCRIPTION", paragraphs("\n\n".join(about))),
            section("COMMANDS", (item(name, sentence(summary(text))) for name, text in commands)),
            section("OPTIONS", option_items(root)),
            common("", usage),
            section("SEE ALSO", [",\n".join(name for name, _ in commands) + "\n"] * bool(commands)),
        ]
    )


def command_page(name: str, command: Any, names: list[str], usage: list[str]) -> str:
    """avs-COMMAND(1), from the command's docstring, arguments and options."""
    arguments = [each for each in parameters(command) if not each.names]
    shown = [f"\\fI{escape(each.value)}\\fR{'...' * each.many}" for each in arguments]
    shown = [text if each.required else f"[{text}]" for each, text in zip(arguments, shown, strict=True)]
    others = ["avs", *(f"avs-{other}" for other in names if other != name)]
    return "".join(
        [
            title(f"avs-{name}"),
            section("NAME", [f"avs\\-{name} \\- {escape(lowered(summary(command.help)))}\n"]),
            section("SYNOPSIS", [" ".join([f"\\fBavs {name}\\fR [\\fIOPTION\\fR]...", *shown]) + "\n"]),
            section("DESCRIPTION", paragraphs(command.help or "")),
            section("ARGUMENTS", (item(f"\\fI{escape(each.value)}\\fR", each.help) for each in arguments)),
            section("OPTIONS", option_items(command)),
            common(name, usage),
            section("SEE ALSO", [",\n".join(roff(other, "(1)") for other in others) + "\n"]),
        ]
    )


def option_items(command: Any) -> Iterator[str]:
    for option in parameters(command):
        if option.names:
            value = f" \\fI{escape(option.value)}\\fR" if option.value else ""
            short_first = sorted(option.names, key=lambda name: name.startswith("--"))
            names = ", ".join(f"\\fB{escape(name)}\\fR" for name in short_first)
            yield item(names + value, option.help + REPEATS * (option.many and "repeat" not in option.help))
            if option.registry:
                yield from entries(option.registry, option.left_out)


def entries(registry: Registry, left_out: Sequence[str] = ()) -> Iterator[str]:
    """What a registry offers: each entry's name, what it is and its parameters, of its file, read and not imported."""
    yield ".RS\n"
    for name in (name for name in registry.names() if name not in left_out):
        tree = source(registry, name)
        spelled = ", ".join(f"\\fB{escape(each)}\\fR" for each in written(tree) or [name])
        yield item(spelled, told_of(tree, registry.entry))
    yield ".RE\n"


def source(registry: Registry, name: str) -> ast.Module:
    """An entry's file, read and not imported."""
    spec = find_spec(registry.package)
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
    module = folder / name.replace("-", "_")
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def offered(key: tuple[str, str], registry: Registry) -> list[str]:
    """What completion offers: the entries' names; of the measures of `eval`, all that it takes as papers write them."""
    if key != ("eval", "measure"):
        return registry.names()
    own = (each for name in registry.names() for each in written(source(registry, name)))
    return sorted([*own, *PLAIN], key=str.lower)


def written(module: ast.Module) -> list[str]:
    """How an entry's `NAMES` write it, where its file's name is not what the field writes."""
    for line in module.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "NAMES":
            return list(ast.literal_eval(line.value))
    return []


def told_of(module: ast.Module, entry: str) -> str:
    """What an entry is; and, of the function that builds it, the parameters and what its docstring says of them."""
    about = [f"{summary(ast.get_docstring(module))}."]
    for function in module.body:
        if isinstance(function, ast.FunctionDef) and function.name == entry and (given := list(settings(function))):
            paragraphs = (ast.get_docstring(function) or "").split("\n\n")[1:]
            about += [f"Parameters: {', '.join(given)}.", *(p for p in paragraphs if not p.startswith("Raises "))]
    return " ".join(" ".join(about).split())


def settings(function: ast.FunctionDef) -> Iterator[str]:
    """The parameters that a spec can give, as `crop=true` with their defaults, and the choices where they are few."""
    given = function.args
    optional = zip(given.args[-len(given.defaults) :], given.defaults, strict=True) if given.defaults else ()
    for argument, default in optional:
        value = ast.literal_eval(default) if isinstance(default, ast.Constant) else ast.unparse(default)
        value = str(value).lower() if isinstance(value, bool) else "none" if value is None else value
        match argument.annotation:
            case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple() as choices):
                others = ", ".join(str(choice) for choice in ast.literal_eval(choices) if choice != value)
                yield f"{argument.arg}={value} (or {others})"
            case _:
                yield f"{argument.arg}={value}"


def common(name: str, usage: list[str]) -> str:
    """The sections that are alike on every page; the examples are those of the command."""
    own = f"AVS_{(name or 'COMMAND').upper()}_OPTION"
    variables = [
        item(
            f"\\fB{own}\\fR, \\fBAVS_OPTION\\fR",
            "Gives an option: its long name in capitals, with _ for -. "
            "Options that grant trust, such as --trust-pickle, are refused here and in avs.toml.",
        ),
        item("\\fBHF_HOME\\fR, \\fBHF_HUB_OFFLINE\\fR", "Where downloaded models are kept; 1 to ask no hub."),
        item("\\fBNO_COLOR\\fR", "Tables without colour."),
    ]
    about = (
        "Read from the working folder: options for every command at the top, options and arguments of one command in a "
        "table of its name. The command line comes first, then the environment, then this file, then the default. "
        "An output that the file names lies inside the working folder."
    )
    shown = [line for line in usage if re.search(rf"(?:^|[|;&]\s*)avs {name}\b", line)] if name else usage[:6]
    return "".join(
        [
            section(
                "EXIT STATUS",
                (
                    item(f"\\fB{code}\\fR", f"{meaning[:1].upper()}{meaning[1:]}.")
                    for code, meaning in EXIT_CODES.items()
                ),
            ),
            section("ENVIRONMENT", variables),
            section("FILES", [item("\\fIavs.toml\\fR", about)]),
            section("EXAMPLES", (f".EX\n{escape(line)}\n.EE\n.PP\n" for line in shown)),
        ]
    )


def title(name: str) -> str:
    return f'.TH {name.upper().replace("-", chr(92) + "-")} 1 "" "avs {__version__}" "avs manual"\n'


def section(name: str, body: Iterable[str]) -> str:
    """A titled section; nothing when it has no body."""
    text = "".join(body)
    return f".SH {name}\n{text.removesuffix('.PP' + chr(10))}" if text else ""


def item(term: str, text: str) -> str:
    return f".TP\n{term}\n{escape(' '.join(text.split()))}\n"


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a docstring; an indented one stands as it is written."""
    for number, block in enumerate(filter(str.strip, text.replace("\b\n", "").split("\n\n"))):
        literal = all(line.startswith("  ") for line in block.splitlines() if line)
        body = f".EX\n{escape(textwrap.dedent(block))}\n.EE\n" if literal else f"{escape(' '.join(block.split()))}\n"
        yield (".PP\n" if number else "") + body


def escape(text: str) -> str:
    """Plain text for roff: no backslash, hyphen or leading dot is taken for something else."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", plain, flags=re.MULTILINE)


def roff(name: str, number: str) -> str:
    return f"\\fB{escape(name)}\\fR{number}"


def lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


# Completion scripts


def bash(root: Any) -> str:
    """The script for bash: one `case` for the values of options, one for the options of commands."""
    values, flags = [], []
    for name, command in root.commands.items():
        known = [each for each in parameters(command) if each.names]
        for option in known:
            spelled = " | ".join(f"{name}:{each}" for each in option.names)
            if option.words:
                values.append(f"{spelled}) words='{' '.join(option.words)}' ;;")
            elif option.value == "NUMBER":
                values.append(f"{spelled}) compopt +o default 2>/dev/null ;;")
            elif option.value:
                values.append(f"{spelled}) ;;")
        flags.append(f"{name}) words='{' '.join(each for option in known for each in option.names)}' ;;")
    first = " ".join([*root.commands, *(each for option in parameters(root) for each in option.names)])
    return f"""\
# Completion of avs for bash. Written by `make docs` from the commands; it starts no process.
_avs() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command=${{COMP_WORDS[1]}}
    local words='' word cut='' place=$COMP_CWORD
    COMPREPLY=()
    # readline cuts P@10 and --option=value into three words each; of P@10 it replaces @10
    if [[ $current == @ ]]; then
        cut=$before place=$((COMP_CWORD - 1))
    elif [[ $before == @ ]]; then
        cut=${{COMP_WORDS[COMP_CWORD - 2]}} current=@$current place=$((COMP_CWORD - 2))
    fi
    before=${{COMP_WORDS[place - 1]}}
    if [[ $current == = ]]; then
        current=''
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[place - 2]}}
    fi
    if ((COMP_CWORD == 1)); then
        words='{first}'
    else
        case $command:$before in
{textwrap.indent(chr(10).join(values), " " * 12)}
            *)
                [[ $current == -* ]] && case $command in
{textwrap.indent(chr(10).join(flags), " " * 20)}
                esac
                ;;
        esac
    fi
    for word in $words; do
        [[ $word == "$cut$current"* ]] && COMPREPLY+=("${{word#"$cut"}}")
    done
}}
complete -o default -F _avs avs
"""


def zsh(root: Any) -> str:
    """The script for zsh: `_arguments` with what each option means."""
    cases = []
    for name, command in root.commands.items():
        lines = [f"        {name})", "            _arguments \\"]
        lines += [f"                {zsh_option(option)} \\" for option in parameters(command) if option.names]
        cases += [*lines, "                '*:file:_files'", "            ;;"]
    described = [f"        {quoted(f'{name}:{summary(command.help)}')}" for name, command in root.commands.items()]
    return "\n".join(
        [
            "#compdef avs",
            "# Completion of avs for zsh. Written by `make docs` from the commands; it starts no process.",
            "_avs() {",
            "    local curcontext=$curcontext state line",
            "    local -a commands",
            "    commands=(",
            *described,
            "    )",
            "    _arguments -C \\",
            *(f"        {zsh_option(option)} \\" for option in parameters(root)),
            "        '1:command:->command' '*::argument:->argument'",
            "    if [[ $state == command ]]; then",
            "        _describe command commands",
            "        return",
            "    fi",
            "    case $words[1] in",
            *cases,
            "    esac",
            "}",
            '_avs "$@"',
            "",
        ]
    )


def zsh_option(option: Parameter) -> str:
    told = re.sub(r"([\[\]:\\])", r"\\\1", summary(option.help))  # brackets end a description, colons a field
    action = f":value:({' '.join(option.words)})" if option.words else ":number:" if option.value == "NUMBER" else ""
    action = action or ":file:_files" * bool(option.value)
    spelled = f"{{{','.join(option.names)}}}" if len(option.names) > 1 else option.names[0]
    return f"'*'{spelled}{quoted(f'[{told}]{action}')}"


def fish(root: Any) -> str:
    """The script for fish: one line per option."""
    lines = ["# Completion of avs for fish. Written by `make docs` from the commands; it starts no process."]
    for option in parameters(root):
        lines.append(f"complete -c avs -n __fish_use_subcommand {fish_option(option)}")
    for name, command in root.commands.items():
        lines.append(f"complete -c avs -n __fish_use_subcommand -f -a {name} -d {quoted_fish(summary(command.help))}")
        for option in parameters(command):
            if option.names:
                lines.append(f"complete -c avs -n '__fish_seen_subcommand_from {name}' {fish_option(option)}")
    return "\n".join(lines) + "\n"


def fish_option(option: Parameter) -> str:
    names = " ".join(f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.names)
    takes = f" -x -a '{' '.join(option.words)}'" if option.words else " -x" if option.value == "NUMBER" else ""
    takes = takes or " -r -F" * bool(option.value)
    return f"{names}{takes} -d {quoted_fish(summary(option.help))}"


def quoted(text: str) -> str:
    """One word for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def quoted_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main() -> None:
    """Write every generated file, and remove pages of commands that are gone."""
    made = pages()
    for path, text in made.items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        with writing(ROOT / path) as out:
            out.write(text)
    for old in (ROOT / "man").glob("*.1"):
        if f"man/{old.name}" not in made:
            old.unlink()


if __name__ == "__main__":
    main()
