"""Manual pages and completion scripts, generated from the commands: `make docs`.

The examples of a page are those of the command's docstring. Completion scripts contain every word that they offer, so
that TAB starts no process. Names of models, methods and measures come from the registries.
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
from avs_cli.core.evaluation.measures import PLAIN
from avs_cli.core.fusion.methods import MEASURES, methods
from avs_cli.core.registry import Registry, RegistryPair
from avs_cli.core.shots import detectors
from avs_cli.core.words import readers
from avs_cli.io.atomic import writing

ROOT = Path(__file__).resolve().parents[1]
# The source of avs-formats(7): "# " begins a section, "- TERM: " an entry of a list, and indented text is an example.
FORMATS = Path(__file__).with_name("formats.txt")
# By command and option: options with the same name may have different values.
MODELS = RegistryPair(Registry("model", "avs_cli.core.encoders", "load"), readers)
REGISTRIES: dict[tuple[str, str], Registry | RegistryPair] = {
    ("extract", "model"): MODELS,
    ("index", "model"): MODELS,
    ("index", "shots"): detectors,
    ("shots", "detector"): detectors,
    ("train", "head"): Registry("head", "avs_cli.core.models.heads", "build"),
    ("train", "objective"): Registry("objective", "avs_cli.core.training.objectives", "build"),
    ("fuse", "method"): methods,
    ("rerank", "method"): Registry("method", "avs_cli.core.search.rerankers", "rerank"),
    ("eval", "measure"): Registry("measure", "avs_cli.core.evaluation.measures", "score"),
}
# Options whose value is a name of a registry or a file: pages list the names, completions offer files.
BESIDE_FILES = {
    ("train", "text"): Registry("text encoder", "avs_cli.core.models.text", "build"),
    ("distill", "text"): Registry("text encoder", "avs_cli.core.models.text", "build"),
    ("distill", "teacher"): Registry("teacher", "avs_cli.core.models.teachers", "build"),
    ("distill", "student"): Registry("head", "avs_cli.core.models.heads", "build"),
}
# Options with values that are not the names of a registry; they take others too.
OFFERED = {("fuse", "measure"): list(MEASURES)}
# Names that an option does not take: the score of a student is one dot product, unlike that of these heads.
LEFT_OUT = {("distill", "student"): ("xclip", "xpool")}
REPEATS = " Repeatable."
# The heading of the command lines that end a command's docstring; \b keeps their line breaks in --help.
EXAMPLES = "\b\nExamples:\n"
EXIT_CODES = {
    0: "done",
    1: "internal error, with a traceback on stderr",
    2: "usage error: an unknown option or name, or an invalid combination",
    3: "bad input: a file that is missing, malformed or inconsistent with the others",
    4: "a package or model is not installed or not downloaded; the message says how to get it",
    5: "done, but some items are missing from the output and listed in its ledger",
    129: "hangup: the terminal was closed (SIGHUP)",
    130: "interrupted (Ctrl-C)",
    143: "terminated (SIGTERM)",
}


class Parameter(NamedTuple):
    """An argument or option of a command.

    names    all spellings of an option; none for an argument
    value    the placeholder of its value: FILE, NUMBER, a|b; "" for a flag
    words    its possible values, if they are few or the names of a registry
    registry the registry whose names a page lists, except for those in `left_out`
    """

    names: list[str]
    value: str
    words: list[str]
    help: str
    required: bool = False
    many: bool = False
    registry: Registry | RegistryPair | None = None
    left_out: tuple[str, ...] = ()


def pages() -> dict[str, str]:
    """Every generated file: its path in the checkout and its text."""
    root = cli.build(cli.COMMANDS)
    made = {"man/avs.1": program_page(root)}
    for name, command in root.commands.items():
        made[f"man/avs-{name}.1"] = command_page(name, command, list(root.commands))
    made["man/avs-formats.7"] = formats_page(FORMATS.read_text(encoding="utf-8"), list(root.commands))
    made["completions/avs.bash"] = bash(root)
    made["completions/_avs"] = zsh(root)
    made["completions/avs.fish"] = fish(root)
    return made


def description(text: str | None) -> str:
    """A command's docstring without its examples."""
    return (text or "").partition(EXAMPLES)[0].rstrip()


def examples(text: str | None) -> list[str]:
    """The command lines at the end of a command's docstring."""
    return [line.strip() for line in (text or "").partition(EXAMPLES)[2].splitlines() if line.strip()]


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


def program_page(root: Any) -> str:
    """avs(1): the program, its commands, and what they have in common."""
    commands = [(roff(f"avs-{name}", "(1)"), command.help) for name, command in root.commands.items()]
    about = [
        sentence(root.help),
        "Commands exchange feature stores (HDF5), named FILE or FILE::FEATURE, and runs in TREC format. Data goes to"
        " stdout, messages to stderr, and - is a pipe. A store from a pipe is copied to a temporary file.",
        "Models, methods and measures are specified as NAME, NAME:VARIANT or NAME:KEY=VALUE,KEY=VALUE.",
    ]
    return "".join(
        [
            title("avs"),
            section("NAME", [f"avs \\- {escape(lowered(summary(root.help)))}\n"]),
            section("SYNOPSIS", ["\\fBavs\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n"]),
            section("DESCRIPTION", paragraphs("\n\n".join(about))),
            section("COMMANDS", (item(name, sentence(summary(text))) for name, text in commands)),
            section("OPTIONS", option_items(root)),
            common("", [examples(command.help)[0] for command in root.commands.values()]),
            section("SEE ALSO", [",\n".join([*(name for name, _ in commands), roff("avs-formats", "(7)")]) + "\n"]),
        ]
    )


def command_page(name: str, command: Any, names: list[str]) -> str:
    """avs-COMMAND(1), from the command's docstring, arguments and options."""
    arguments = [each for each in parameters(command) if not each.names]
    shown = [f"\\fI{escape(each.value)}\\fR{'...' * each.many}" for each in arguments]
    shown = [text if each.required else f"[{text}]" for each, text in zip(arguments, shown, strict=True)]
    return "".join(
        [
            title(f"avs-{name}"),
            section("NAME", [f"avs\\-{name} \\- {escape(lowered(summary(command.help)))}\n"]),
            section("SYNOPSIS", [" ".join([f"\\fBavs {name}\\fR [\\fIOPTION\\fR]...", *shown]) + "\n"]),
            section("DESCRIPTION", paragraphs(description(command.help))),
            section("ARGUMENTS", (item(f"\\fI{escape(each.value)}\\fR", each.help) for each in arguments)),
            section("OPTIONS", option_items(command)),
            common(name, examples(command.help)),
            see_also(other for other in names if other != name),
        ]
    )


def formats_page(text: str, names: list[str]) -> str:
    """avs-formats(7), from its source."""
    parts = [part.partition("\n") for part in re.split(r"^# ", text, flags=re.MULTILINE)[1:]]
    bodies = ((name, "".join(paragraphs(body.strip("\n")))) for name, _, body in parts)
    return "".join([title("avs-formats", 7), *(section(name, [body]) for name, body in bodies), see_also(names, "")])


def see_also(commands: Iterable[str], formats: str = "avs-formats") -> str:
    pages = [roff("avs", "(1)"), *(roff(f"avs-{name}", "(1)") for name in commands)]
    return section("SEE ALSO", [",\n".join([*pages, *([roff(formats, "(7)")] if formats else [])]) + "\n"])


def option_items(command: Any) -> Iterator[str]:
    for option in parameters(command):
        if option.names:
            value = f" \\fI{escape(option.value)}\\fR" if option.value else ""
            short_first = sorted(option.names, key=lambda name: name.startswith("--"))
            names = ", ".join(f"\\fB{escape(name)}\\fR" for name in short_first)
            yield item(names + value, option.help + REPEATS * (option.many and "repeatable" not in option.help.lower()))
            if option.registry:
                yield from entries(option.registry, option.left_out)


def entries(registry: Registry | RegistryPair, left_out: Sequence[str] = ()) -> Iterator[str]:
    """What a registry offers: each entry's name, what it is and its parameters, of its file, read and not imported."""
    yield ".RS\n"
    for name in (name for name in registry.names() if name not in left_out):
        tree = source(registry, name)
        spelled = ", ".join(f"\\fB{escape(each)}\\fR" for each in written(tree) or [name])
        yield item(spelled, told_of(tree, registry.entry))
    yield ".RE\n"


def source(registry: Registry | RegistryPair, name: str) -> ast.Module:
    """An entry's file, read and not imported."""
    spec = find_spec(registry.of(name).package)
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
    module = folder / name.replace("-", "_")
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def offered(key: tuple[str, str], registry: Registry | RegistryPair) -> list[str]:
    """The words that completion offers: names of entries; for the measures of `eval`, their names in papers."""
    if key != ("eval", "measure"):
        return registry.names()
    own = (each for name in registry.names() for each in written(source(registry, name)))
    return sorted([*own, *PLAIN], key=str.lower)


def written(module: ast.Module) -> list[str]:
    """The names in an entry's `NAMES`, if they differ from its file name."""
    for line in module.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "NAMES":
            return list(ast.literal_eval(line.value))
    return []


def told_of(module: ast.Module, entry: str) -> str:
    """The description of an entry, with the parameters of the function that builds it."""
    about = [f"{summary(ast.get_docstring(module))}."]
    for function in module.body:
        if isinstance(function, ast.FunctionDef) and function.name == entry and (given := list(settings(function))):
            paragraphs = (ast.get_docstring(function) or "").split("\n\n")[1:]
            about += [f"Parameters: {', '.join(given)}.", *(p for p in paragraphs if not p.startswith("Raises "))]
    return " ".join(" ".join(about).split())


def settings(function: ast.FunctionDef) -> Iterator[str]:
    """The parameters of a spec with their defaults, such as `crop=true`, and their choices if they are few."""
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
    """The sections that all pages share, and the examples `usage`."""
    own = f"AVS_{(name or 'COMMAND').upper()}_OPTION"
    variables = [
        item(
            f"\\fB{own}\\fR, \\fBAVS_OPTION\\fR",
            "Set an option: its long name in capitals, with _ for -. "
            "Options that grant trust, such as --trust-pickle, are rejected here and in avs.toml.",
        ),
        item("\\fBHF_HOME\\fR, \\fBHF_HUB_OFFLINE\\fR", "Folder of downloaded models; 1 disables downloads."),
        item("\\fBNO_COLOR\\fR", "Disable colour in tables."),
    ]
    about = (
        "Configuration, read from the working folder: options of all commands at the top, options and arguments of one "
        "command in a table with its name. The command line takes precedence over the environment, the environment "
        "over this file. Output files set here must be inside the working folder."
    )
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
            section("EXAMPLES", (f".EX\n{escape(line)}\n.EE\n.PP\n" for line in usage)),
        ]
    )


def title(name: str, chapter: int = 1) -> str:
    return f'.TH {name.upper().replace("-", chr(92) + "-")} {chapter} "" "avs {__version__}" "avs manual"\n'


def section(name: str, body: Iterable[str]) -> str:
    """A titled section, or "" without a body."""
    text = "".join(body)
    return f".SH {name}\n{text.removesuffix('.PP' + chr(10))}" if text else ""


def item(term: str, text: str) -> str:
    return f".TP\n{term}\n{escape(' '.join(text.split()))}\n"


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a docstring; indented ones are printed verbatim, those of lines `- TERM: TEXT` as lists."""
    for number, block in enumerate(filter(str.strip, text.replace("\b\n", "").split("\n\n"))):
        if block.startswith("- "):
            terms = (line.removeprefix("- ").partition(": ") for line in block.splitlines())
            yield "".join(item(f"\\fB{escape(term)}\\fR", sentence(about)) for term, _, about in terms)
            continue
        literal = all(line.startswith("  ") for line in block.splitlines() if line)
        body = f".EX\n{escape(textwrap.dedent(block))}\n.EE\n" if literal else f"{escape(' '.join(block.split()))}\n"
        yield (".PP\n" if number else "") + body


def escape(text: str) -> str:
    """Plain text for roff, with backslashes, hyphens and leading dots escaped."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", plain, flags=re.MULTILINE)


def roff(name: str, number: str) -> str:
    return f"\\fB{escape(name)}\\fR{number}"


def lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


# Completion scripts


def bash(root: Any) -> str:
    """The script for bash: one `case` for values of options, one for options of commands."""
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
    """The script for zsh: `_arguments` with a description of each option."""
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
    """Write all generated files, and remove pages of commands that no longer exist."""
    made = pages()
    for path, text in made.items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        with writing(ROOT / path) as out:
            out.write(text)
    for old in (ROOT / "man").glob("*.[17]"):
        if f"man/{old.name}" not in made:
            old.unlink()


if __name__ == "__main__":
    main()
