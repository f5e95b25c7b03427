"""Where tests find data that this project does not carry, and how they run the program."""

import contextlib
import gc
import io
import itertools
import multiprocessing.forkserver
import os
import pydoc
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED = CHECKOUT.parent / "shared"
EXCERPT = Path(__file__).with_name("parity") / "excerpt"

os.environ["HF_HUB_OFFLINE"] = "1"
# Threads that wait for the next piece of work would take the core from the other process of tests.
os.environ["OMP_WAIT_POLICY"] = "passive"
# Under nohup, or in the background of a script, programs inherit that they ignore these, which tests send them.
for ended, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(ended) == signal.SIG_IGN:
        signal.signal(ended, handler)


# Tests that take several seconds, which begin first: at the end, one of two processes would wait for the other's.
LONG = (
    "tests/commands/test_distill.py::test_a_distillation_from_clips_killed",
    "tests/commands/test_distill.py::test_from_captions_alone",
    "tests/commands/test_distill.py::test_on_clips",
    "tests/commands/test_extract.py::test_half_an_hour",
    "tests/docs/test_competition.py",
    "tests/guard/test_outputs.py",
    "tests/stages/test_memory.py",
    "tests/test_cluster.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What the imports make, a million objects, is kept from the garbage collector, which would visit it each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A path under the shared data; the test skips where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / "data" / name
        if not path.exists():
            pytest.skip(f"needs shared data that is not here: {name}")
        return path

    return find


@pytest.fixture(scope="session")
def parity() -> Callable[[str], Path]:
    """A path under the parity arrays: $AVS_PARITY, else the shared folder, else the excerpt kept with the tests.

    In the excerpt a text may be packed; then its path ends in .gz.
    """

    def find(name: str) -> Path:
        for root in filter(None, (os.environ.get("AVS_PARITY"), SHARED / "parity", EXCERPT)):
            for path in (Path(root) / name, Path(root) / f"{name}.gz"):
                if path.exists():
                    return path
        pytest.skip(f"no parity array here: {name}")

    return find


class Ran(NamedTuple):
    """What became of a command that was run in this process."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def avs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs the program in this process, which has loaded everything already, in an empty folder.

    avs_here("eval", "a.qrels", "-", input="…", env={"AVS_MEASURE": "AP"})
    """
    from avs_cli.cli import exit_code

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in [name for name in os.environ if name.startswith("AVS_") and name != "AVS_PARITY"]:
        monkeypatch.delenv(name)

    def run(
        *arguments: object, input: str | None = None, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Ran:
        out, told = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patched,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(told),
        ):
            if input is not None:
                patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input.encode()), encoding="utf-8"))
            for name, value in (env or {}).items():
                patched.setenv(name, value)
            if cwd:
                patched.chdir(cwd)
            code = exit_code([str(argument) for argument in arguments])
        return Ran(code, out.getvalue(), told.getvalue())

    return run


@pytest.fixture
def avs(avs_here: Callable[..., Ran]) -> Callable[..., Ran]:
    """As `avs_here`; a file may make its own of it."""
    return avs_here


@pytest.fixture
def avs_apart(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the program in a process of its own, as a user would, in an empty folder.

    It loads everything anew, which takes seconds: for what `avs` cannot show, such as signals and closed streams.
    """

    def run(*arguments: object, cwd: Path = tmp_path, **settings: object) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AVS_")}
        environment |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "120"} | settings.pop("env", {})  # type: ignore[operator]
        command = [sys.executable, "-m", "avs_cli", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, **settings)  # type: ignore[call-overload]

    return run


@pytest.fixture
def forked() -> Callable[..., int]:
    """Runs a command in a forked process, which has loaded everything already, and returns its process id.

    It has its workers from the server of this process, which has loaded what they need; or, if they are `descendants`,
    from a server of its own.
    """
    from avs_cli.cli import exit_code
    from avs_cli.io.video import frames, workers

    server = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]

    def run(line: Sequence[object], first: Callable[[], object] = lambda: None, descendants: bool = False) -> int:
        if not descendants:
            server.set_forkserver_preload([workers.__name__, frames.__name__])
            server.ensure_running()
        child = os.fork()
        if not child:
            code = 1
            try:
                first()
                # The server is no child of the new process, which would start another one.
                if descendants:
                    server._forkserver_pid = None
                else:
                    server.ensure_running = lambda: None
                code = exit_code([str(argument) for argument in line])
            finally:
                os._exit(code)
        return child

    return run


@pytest.fixture
def killed(forked: Callable[..., int]) -> Callable[[list[object], str, int, bool], bool]:
    """Runs a command in a forked process that SIGKILL ends at some moment.

    The moment is the `count`-th call of what `called` names, before or after it is done. It says whether the process
    was there to be killed: one that had ended before was not.
    """

    def run(line: list[object], called: str, count: int, done: bool) -> bool:
        where, _, name = called.rpartition(".")
        holder = pydoc.locate(where)
        of, times = getattr(holder, name), itertools.count(1)

        def ending(*arguments: Any, **named: Any) -> Any:
            last = next(times) == count
            if last and not done:
                os.kill(os.getpid(), signal.SIGKILL)
            result = of(*arguments, **named)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        child = forked(line, lambda: setattr(holder, name, ending))
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    return run


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three films of two seconds with two captions each, and a tiny CLIP model."""
    import json

    import numpy as np
    import open_clip
    import torch
    from films import noise_film
    from safetensors.torch import save_file

    config: dict[str, Any] = {
        "embed_dim": 16, "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 64, "patch_size": 16},
        "text_cfg": {"width": 16, "heads": 1, "layers": 1, "context_length": 16, "vocab_size": 49408},
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    Path("clip").mkdir()
    save_file(open_clip.CLIP(**config).state_dict(), "clip/open_clip_model.safetensors")
    Path("clip/open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    draw, captions = np.random.default_rng(0), []
    for number, colour in enumerate(("red", "green", "blue")):
        noise_film(Path(f"{colour}.mp4"), draw, number, 4)
        captions += [f"{colour}#enc#{k} {text} {colour}\n" for k, text in enumerate(("it is", "all is"))]
    Path("c.txt").write_text("".join(captions))
    return [f"{colour}.mp4" for colour in ("red", "green", "blue")]
