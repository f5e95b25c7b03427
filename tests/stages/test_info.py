"""Info from Python: the facts that `avs info --json` prints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avs_cli.errors import FormatError
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.stages.info import facts


def test_facts_are_what_the_command_prints(avs_here: Callable[..., Any]) -> None:
    with StoreWriter("a.h5", "clip", 3, {"model": "ViT"}) as writer:
        writer.add([Item(None, "s0", np.ones(3))])
        writer.finish(["s0"])
    Path("a.run").write_text("731 Q0 s1 1 0.5 tag\n731 Q0 s2 2 0.4 tag\n")
    Path("a.qrels").write_text("731 0 s1 1\n731 0 s2 0\n")
    names = ["a.h5", "a.h5::clip", "a.run", "a.qrels"]
    assert [facts(name) for name in names] == json.loads(avs_here("info", "--json", *names).stdout)
    assert facts("a.run") == {
        "file": "a.run", "kind": "run", "tag": "tag", "topics": 1, "rows": 2, "least": 2, "most": 2
    }  # fmt: skip


def test_a_file_of_no_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello\n")
    with pytest.raises(FormatError, match="not a feature store, head, run, qrels or shot table"):
        facts(str(tmp_path / "x"))
