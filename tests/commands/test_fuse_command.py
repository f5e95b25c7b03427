"""avs fuse, as a user meets it."""

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from avs_cli.io.fuser import read_fuser
from avs_cli.io.text.trec import read_run, write_run

Avs = Callable[..., CompletedProcess[str]]

NAMES = ("one", "two", "three")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """runs/one.trec … of six topics, and qrels of the first five: each run sees relevance through its own noise."""
    rng = random.Random(0)
    (tmp_path / "runs").mkdir()
    lines: dict[str, list[str]] = {name: [] for name in NAMES}
    judged = []
    for topic in range(1661, 1667):
        for shot in range(60):
            relevant = rng.random() < 0.3
            for noise, name in enumerate(NAMES, start=1):
                lines[name].append(f"{topic} Q0 shot{shot} 0 {relevant + noise * 0.5 * rng.gauss(0, 1)} {name}\n")
            if topic < 1666:
                judged.append(f"{topic} 0 shot{shot} {int(relevant)}\n")
    for name in NAMES:
        (tmp_path / "runs" / f"{name}.trec").write_text("".join(lines[name]))
    (tmp_path / "q.txt").write_text("".join(judged))
    return tmp_path


def paths(folder: Path) -> list[Path]:
    return [folder / "runs" / f"{name}.trec" for name in NAMES]


def failed(done: CompletedProcess[str], code: int, *words: str) -> None:
    """The command ended with `code`, wrote nothing, and said one line with `words` in it."""
    assert done.returncode == code, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_rrf_is_what_happens_without_a_word(avs: Avs, tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("1 Q0 x 1 2 a\n1 Q0 y 2 1 a\n")
    (tmp_path / "b.run").write_text("1 Q0 y 1 9 b\n1 Q0 z 2 8 b\n")
    done = avs("fuse", "a.run", "b.run", "--tag", "both", "--depth", 2)
    assert done.returncode == 0 and done.stderr == ""
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:4] + row[5:] for row in rows] == [["1", "Q0", "y", "1", "both"], ["1", "Q0", "x", "2", "both"]]
    assert float(rows[0][4]) == pytest.approx(1 / 61 + 1 / 62, abs=1e-12)


def test_a_method_takes_parameters_and_given_weights(avs: Avs, tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("1 Q0 x 1 2 a\n1 Q0 y 2 1 a\n")
    (tmp_path / "b.run").write_text("1 Q0 y 1 9 b\n1 Q0 z 2 8 b\n")
    done = avs("fuse", "a.run", "b.run", "--method", "weighted:weights=1/3,norm=rank")
    scores = {row[2]: float(row[4]) for row in map(str.split, done.stdout.splitlines())}
    assert scores == pytest.approx({"x": 1, "y": 0.5 + 3, "z": 1.5})


def test_learning_writes_every_topic_and_says_how_on_stderr(avs: Avs, folder: Path) -> None:
    done = avs("fuse", "--ltr", "--qrels", "q.txt", *paths(folder), "-o", "f.run", "--folds", 3)
    assert done.returncode == 0 and done.stdout == ""
    assert "5 judged topics ranked out of fold (3 folds, AP), 1 others" in done.stderr
    assert "Step 1 only (linear weights) in 4 of 4 fits" in done.stderr and "too few" in done.stderr
    run = read_run(str(folder / "f.run"))
    assert len(run) == 6 and {len(scores) for scores in run.values()} == {60}


def test_the_users_line_as_it_stands_takes_judgments_from_the_folder_or_the_environment(avs: Avs, folder: Path) -> None:
    by_option = avs("fuse", "--ltr", *paths(folder), "--qrels", "q.txt")
    by_environment = avs("fuse", "--ltr", *paths(folder), env={"AVS_QRELS": "q.txt"})
    (folder / "avs.toml").write_text('[fuse]\nqrels = "q.txt"\nruns = ["runs/*.trec"]\n')
    by_file = avs("fuse", "--ltr", *paths(folder))
    by_pattern = avs("fuse", "--ltr")
    assert by_option.returncode == 0 and len(by_option.stdout.splitlines()) == 360
    assert by_option.stdout == by_environment.stdout == by_file.stdout == by_pattern.stdout


def test_the_users_line_without_judgments_says_what_it_needs(avs: Avs, folder: Path) -> None:
    failed(avs("fuse", "--ltr", *paths(folder)), 2, "--qrels", "AVS_QRELS", "--load", "rrf needs nothing")
    failed(avs("fuse", "--method", "weighted", *paths(folder)), 2, "--qrels")


def test_learning_pipes_into_eval(avs: Avs, folder: Path) -> None:
    fused = avs("fuse", "--ltr", "--qrels", "q.txt", *paths(folder))
    done = avs("eval", "-m", "AP", "q.txt", "-", input=fused.stdout)
    alone = avs("eval", "-m", "AP", "q.txt", folder / "runs" / "three.trec")
    assert done.returncode == 0
    assert float(done.stdout.split()[1]) > float(alone.stdout.split()[1])


@pytest.mark.parametrize("method", [(), ("--method", "combsum"), ("--ltr", "--qrels", "q.txt")])
def test_topics_select_what_is_fused(avs: Avs, folder: Path, method: tuple[str, ...]) -> None:
    """The runs' other topics might as well not be there."""
    chosen = avs("fuse", *method, *paths(folder), "--topics", "1662-1663,666")
    assert chosen.returncode == 0
    (folder / "topics.txt").write_text("662 a dog\n663 a cat\n1666 a bird\n")
    assert avs("fuse", *method, *paths(folder), "--topics", "topics.txt").stdout == chosen.stdout
    for path in paths(folder):
        rows = path.read_text().splitlines(True)
        path.write_text("".join(row for row in rows if row.split()[0] in ("1662", "1663", "1666")))
    assert avs("fuse", *method, *paths(folder)).stdout == chosen.stdout != ""


def test_selected_topics_that_no_run_has_are_noted_and_none_at_all_is_an_error(avs: Avs, folder: Path) -> None:
    for method in ("rrf", "combsum"):
        line = ("fuse", "--method", method, *paths(folder), "--topics")
        done = avs(*line, "665-669")
        assert done.returncode == 0 and {row.split()[0] for row in done.stdout.splitlines()} == {"1665", "1666"}
        assert done.stderr == "avs: 3 of 5 selected topics are in no run: 667, 668, 669\n"
        failed(avs(*line, "731-750"), 3, "731", "no run has any", "1661")
        failed(avs(*line, "topics.txt"), 3, "topics.txt", "no such file")
    failed(avs("fuse", "-", *paths(folder)[1:], "--topics", "-", input=""), 2, "stdin")


def test_a_run_comes_through_a_pipe(avs: Avs, folder: Path) -> None:
    first, *others = paths(folder)
    done = avs("fuse", "-", *others, input=first.read_text())
    assert done.stdout == avs("fuse", *paths(folder)).stdout != ""


def test_many_runs_are_shared_by_processes_and_fused_as_one_process_does(avs: Avs, folder: Path) -> None:
    first, *others = many = [folder / f"{n:02}.run" for n in range(17)]
    for n, path in enumerate(many):
        rows = paths(folder)[n % 3].read_text().splitlines(True)
        path.write_text("".join(random.Random(n).sample(rows, 200)))
    done = avs("fuse", *many, "--depth", 20)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 120
    # Through a pipe it is read as scores, by one process.
    assert avs("fuse", "-", *others, "--depth", 20, input=first.read_text()).stdout == done.stdout
    many[-1].write_text("1661 Q0 a 1 high t\n")
    failed(avs("fuse", *many), 3, "16.run:1: score 'high'")


def test_the_order_of_the_runs_makes_no_difference_to_learning(avs: Avs, folder: Path) -> None:
    forward = avs("fuse", "--ltr", "--qrels", "q.txt", *paths(folder))
    assert avs("fuse", "--ltr", "--qrels", "q.txt", *paths(folder)[::-1]).stdout == forward.stdout != ""


def test_options_of_learning_change_what_is_learned(avs: Avs, folder: Path) -> None:
    base = ("fuse", "--method", "weighted", "--qrels", "q.txt", *paths(folder))
    plain = avs(*base).stdout
    for option in (("--seed", 1), ("--folds", 2), ("--measure", "P@10")):
        assert avs(*base, *option).stdout != plain
    assert avs(*base, "--threads", 1).stdout == plain


def test_years_make_folds(avs: Avs, folder: Path) -> None:
    for path in (*paths(folder), folder / "q.txt"):
        path.write_text("".join(line.replace("1664 ", "1701 ", 1) for line in path.read_text().splitlines(True)))
    done = avs("fuse", "--method", "weighted", "--qrels", "q.txt", "--folds", "by-year", *paths(folder))
    assert done.returncode == 0 and "(2 folds, AP)" in done.stderr


def test_topic_numbers_of_judgments_may_be_those_of_nist(avs: Avs, folder: Path) -> None:
    (folder / "q3.txt").write_text("".join(line[1:] for line in (folder / "q.txt").read_text().splitlines(True)))
    done = avs("fuse", "--method", "weighted", "--qrels", "q3.txt", *paths(folder))
    assert done.returncode == 0 and "renamed" in done.stderr
    assert done.stdout == avs("fuse", "--method", "weighted", "--qrels", "q.txt", *paths(folder)).stdout


def test_a_saved_fuser_fuses_other_topics_of_the_same_runs_in_any_order(avs: Avs, folder: Path) -> None:
    learned = avs("fuse", "--ltr", "--qrels", "q.txt", *paths(folder), "--save", "fuser.json", "-o", "-")
    done = avs("fuse", "--load", "fuser.json", *paths(folder)[::-1])
    assert done.returncode == 0 and "was fitted on 5 of these 6 topics" in done.stderr
    # 1666 was not judged: learning ranked it by the whole fuser, and so does the saved one.
    theirs, ours = (
        [row for row in out.splitlines() if row.startswith("1666 ")] for out in (learned.stdout, done.stdout)
    )
    assert len(ours) == 60 and theirs == ours
    assert avs("fuse", "--load", "fuser.json", "--ltr", *paths(folder)).stdout == done.stdout


def with_trees(avs: Avs, folder: Path) -> Path:
    """A fuser of an earlier version, as XGBoost wrote its trees: two boosters of two trees, over 16 features."""
    split = {
        "left_children": [1, -1, 3, -1, -1],
        "right_children": [2, -1, 4, -1, -1],
        "split_indices": [10, 0, 2, 0, 0],
        "split_conditions": [0.25, -0.5, 0.75, 0.25, 1.5],
        "default_left": [0] * 5,
        "split_type": [0] * 5,
        "categories": [],
        "tree_param": {"num_nodes": "5"},
    }
    trees = [split, {**split, "split_indices": [9, 0, 4, 0, 0]}]
    learner = {
        "gradient_booster": {"model": {"trees": trees, "tree_info": [0, 0]}, "name": "gbtree"},
        "learner_model_param": {"base_score": "[5E-1]", "num_feature": "16"},
    }
    document = {
        "format": "avs-fuser",
        "format_version": 1,
        "measure": "AP",
        "input": "log",
        "runs": dict(zip(sorted(NAMES), (0.5, 0.25, 0.25), strict=True)),
        "mix": 0.5,
        "topics": ["1661"],
        "verdict": "helps",
        "boosters": [{"learner": learner, "version": [3, 2, 0]}] * 2,
    }
    (folder / "fuser.json").write_text(json.dumps(document))
    return folder / "fuser.json"


def with_coefficients(avs: Avs, folder: Path) -> Path:
    """A saved fuser with Step 2, whatever cross-validation thinks of it."""
    from avs_cli.io.fuser import write_fuser
    from avs_cli.types import Fuser, step_2_features

    coefficients = tuple((-1) ** n / (n + 1) for n in range(step_2_features(3)))
    fuser = Fuser(
        tuple(sorted(NAMES)),
        "AP",
        "log",
        (0.5, 0.25, 0.25),
        0.5,
        (),
        ("1661",),
        "helps",
        coefficients=coefficients,
        reach=40,
    )
    write_fuser(str(folder / "fuser.json"), fuser)
    assert read_fuser(str(folder / "fuser.json")) == fuser
    return folder / "fuser.json"


@pytest.mark.parametrize("saved", [with_trees, with_coefficients])
def test_a_saved_step_2_predicts_what_it_did_before(avs: Avs, folder: Path, saved: Callable[[Avs, Path], Path]) -> None:
    from avs_cli.core.fusion.ltr.learning import as_scores, steps
    from avs_cli.core.fusion.ltr.topic_matrix import pool
    from avs_cli.io.fuser import write_fuser

    fuser = read_fuser(str(saved(avs, folder)))
    write_fuser(str(folder / "again.json"), fuser)
    assert read_fuser(str(folder / "again.json")) == fuser
    assert json.loads((folder / "again.json").read_text())["format_version"] == 2
    runs = [read_run(str(folder / "runs" / f"{name}.trec")) for name in fuser.runs]
    block = pool(runs, "1666", {})
    step1, both = steps(fuser, block)
    assert as_scores(block, step1, 60) != as_scores(block, both, 60)
    done = avs("fuse", "--load", "fuser.json", *paths(folder), "-o", "f.run")
    assert done.returncode == 0
    assert read_run(str(folder / "f.run"))["1666"] == as_scores(block, both, 60)


def test_a_fuser_for_other_runs_names_the_one_that_does_not_fit(avs: Avs, folder: Path) -> None:
    avs("fuse", "--method", "weighted", "--qrels", "q.txt", *paths(folder), "--save", "fuser.json", "-o", "f.run")
    failed(avs("fuse", "--load", "fuser.json", *paths(folder)[:2]), 3, "three", "which is missing")
    (folder / "runs" / "four.trec").write_text((folder / "runs" / "one.trec").read_text())
    failed(avs("fuse", "--load", "fuser.json", *paths(folder), "runs/four.trec"), 3, "four")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: d.update(format="x"), "not a model saved by"),
        (lambda d: d.update(format_version=3), "format 3; this version of avs reads 1 and 2"),
        (lambda d: d.update(runs={"one": -1, "two": 1, "three": 1}), "weights"),
        (lambda d: d.update(mix=0), "mix"),
        (lambda d: d.update(input="../x"), "input"),
        (lambda d: d.update(topics=[1]), "topics"),
        (lambda d: d["runs"].pop("one"), "damaged"),
        (lambda d: d.update(boosters=[{}]), "damaged"),
        (lambda d: d.update(format_version=2), "reach"),
        (lambda d: _tree(d)["left_children"].__setitem__(0, 10**6), "damaged"),
        (lambda d: _tree(d)["left_children"].__setitem__(0, 0), "damaged"),
        (lambda d: _tree(d)["split_indices"].__setitem__(0, 10**6), "damaged"),
        (lambda d: _tree(d)["split_conditions"].pop(), "damaged"),
        (lambda d: d["boosters"][0]["learner"]["gradient_booster"].update(name="gblinear"), "damaged"),
    ],
)
def test_a_damaged_fuser_is_refused(avs: Avs, folder: Path, damage: Callable[[dict], object], words: str) -> None:  # type: ignore[type-arg]
    from avs_cli.errors import FormatError

    path = with_trees(avs, folder)
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError, match=words):
        read_fuser(str(path))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: d.update(reach=0), "reach"),
        (lambda d: d.update(reach=10**6), "reach"),
        (lambda d: d.update(mix=0), "mix and coefficients"),
        (lambda d: d["coefficients"].pop(), "coefficients do not match the 16 features"),
        (lambda d: d["coefficients"].__setitem__(0, math.nan), "coefficients"),
        (lambda d: d["coefficients"].__setitem__(0, "1"), "coefficients"),
    ],
)
def test_damaged_coefficients_are_refused(avs: Avs, folder: Path, damage: Callable[[dict], object], words: str) -> None:  # type: ignore[type-arg]
    from avs_cli.errors import FormatError

    path = with_coefficients(avs, folder)
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError, match=words):
        read_fuser(str(path))


STRANGE = (None, True, -1, 2**31, 10**400, 1e308, math.nan, "", "x", "-1", "a\nb", [], [[]], {}, [0], ["x"])


def mutant(document: dict, rng: random.Random) -> object:  # type: ignore[type-arg]
    """The document with one value, at any depth, replaced, left out, doubled or given another name."""
    found = copy.deepcopy(document)
    parent: dict | list = found  # type: ignore[type-arg]
    while True:
        key = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
        inner = parent[key]  # type: ignore[index]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.15:
            break
        parent = inner
    match rng.choice(("replace", "replace", "drop", "double", "rename")):
        case "replace":
            parent[key] = rng.choice(STRANGE)  # type: ignore[index]
        case "drop":
            del parent[key]  # type: ignore[arg-type]
        case "double" if isinstance(parent, list):
            parent.insert(key, inner)
        case _ if isinstance(parent, dict):
            parent["x"] = parent.pop(key)
    return found


def test_150_mutants_of_a_fuser_fuse_or_are_refused_in_a_line(avs: Avs, avs_here: Avs, folder: Path) -> None:
    documents = [json.loads(saved(avs, folder).read_text()) for saved in (with_trees, with_coefficients)]
    documents[0] |= {"format_version": 2, "reach": 40}
    path = folder / "fuser.json"
    rng = random.Random(0)
    refused = 0
    for number in range(150):
        document = documents[number % 3 == 0]
        path.write_text(json.dumps(mutant(document, rng)))
        done = avs_here("fuse", "--load", "fuser.json", *paths(folder), "--topics", "1666", "--depth", 5)
        assert done.returncode in (0, 3), (number, done.stderr)
        if done.returncode:
            assert done.stdout == "" and done.stderr.count("\n") == 1, (number, done.stderr)
        else:
            assert done.stdout.count("\n") == 5
        refused += done.returncode == 3
    assert 15 < refused < 150


def _tree(document: dict) -> dict:  # type: ignore[type-arg]
    trees = document["boosters"][0]["learner"]["gradient_booster"]["model"]["trees"]
    return next(tree for tree in trees if tree["left_children"][0] > 0)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_what_is_no_fuser_is_refused_in_a_line(avs: Avs, folder: Path, text: str) -> None:
    (folder / "x.json").write_text(text)
    failed(avs("fuse", "--load", "x.json", *paths(folder)), 3, "x.json")


def test_a_report_tells_weights_steps_and_losses_in_four_forms(avs: Avs, folder: Path) -> None:
    files = ("r.json", "r.txt", "r.svg", "-")
    reports = [word for name in files for word in ("--report", name)]
    done = avs("fuse", "--method", "weighted", "--qrels", "q.txt", *paths(folder), "-o", "f.run", *reports)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "r.json").read_text())
    assert {part["run"] for part in found["parts"]} == set(NAMES)
    assert sum(part["weight"] for part in found["parts"]) == pytest.approx(1)
    best = max(found["parts"], key=lambda part: part["alone"])
    assert best["run"] == "one" and best["loss"] > 0
    steps = {step["name"]: step for step in found["steps"]}
    assert list(steps) == ["best run (one)", "RRF", "Step 1"]
    assert steps["Step 1"]["gain"] == pytest.approx(steps["Step 1"]["value"] - steps["RRF"]["value"])
    for run, name in (("f.run", "Step 1"), ("runs/one.trec", "best run (one)")):
        values = avs("eval", "-m", "nDCG@20", "-m", "P@10", "q.txt", run).stdout.split()[1::2]
        assert [f"{steps[name]['others'][measure]:.4f}" for measure in ("nDCG@20", "P@10")] == values
    value = avs("eval", "-m", "AP", "q.txt", "f.run").stdout.split()[1]
    assert f"{steps['Step 1']['value']:.4f}" == value
    for text in ((folder / "r.txt").read_text(), done.stdout):
        assert "Step 1" in text and value in text and all(name in text for name in NAMES)
    assert (folder / "r.svg").read_text().startswith("<?xml")


def test_saving_a_model_alone_writes_no_run_and_fits_no_folds(avs: Avs, folder: Path) -> None:
    line = ("fuse", "--ltr", "--qrels", "q.txt", *paths(folder), "--save", "fuser.json")
    whole = avs(*line, "-o", "f.run")
    assert whole.returncode == 0
    saved = (folder / "fuser.json").read_bytes()
    (folder / "fuser.json").unlink()
    alone = avs(*line)
    assert (alone.returncode, alone.stdout) == (0, "")
    assert "fuser.json: fitted on 5 judged topics (AP); no run written (no -o)" in alone.stderr
    assert "out of fold" not in alone.stderr
    assert (folder / "fuser.json").read_bytes() == saved
    reported = avs(*line, "--report", "-")
    assert "Step 1 *" in reported.stdout and " Q0 " not in reported.stdout


def test_judgments_of_earlier_topics_serve_new_topics_of_the_same_runs(avs: Avs, folder: Path) -> None:
    """Fit on the judged topics, apply to the new one: as if all topics were fused together."""
    together = avs("fuse", "--ltr", "--qrels", "q.txt", *paths(folder))
    new = ("fuse", *paths(folder), "--topics", "666")
    failed(avs(*new, "--ltr", "--qrels", "q.txt"), 3, "q.txt judges none", "1666", "1661", "--save", "--load")
    assert (
        avs("fuse", "--ltr", "--qrels", "q.txt", *paths(folder), "--topics", "661-665", "--save", "f.json").stdout == ""
    )
    done = avs(*new, "--load", "f.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(row for row in together.stdout.splitlines(True) if row.startswith("1666 "))


def test_judgments_of_several_years_are_several_files(avs: Avs, folder: Path) -> None:
    rows = (folder / "q.txt").read_text().splitlines(True)
    (folder / "early").write_text("".join(row[1:] for row in rows if row < "1663"))
    (folder / "late").write_text("".join(row for row in rows if row >= "1663"))
    (folder / "other").write_text("1801 0 shot1 1\n")
    line = ("fuse", "--method", "weighted", *paths(folder), "--qrels")
    done = avs(*line, "early", "--qrels", "late", "--qrels", "other")
    assert done.stdout == avs(*line, "q.txt").stdout != ""
    assert "other judges none of the runs' topics" in done.stderr
    failed(avs(*line, "q.txt", "--qrels", "late"), 3, "topic 1663 is judged in both q.txt and late")


def test_steps_are_chosen_or_left_to_cross_validation(
    avs: Avs, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    runs = [f"{number}.trec" for number in range(3)]
    topics = {str(number) for number in range(1, 13)}  # enough for Step 2
    for path, run in zip(sorted(shared_data("trec-covid-r1/runs").iterdir()), runs, strict=False):
        write_run(run, {topic: shots for topic, shots in read_run(str(path)).items() if topic in topics}, run, 300)
    lines = shared_data("trec-covid-r1/qrels.covid-round1.txt").read_text().splitlines(keepends=True)
    qrels = tmp_path / "few.qrels"
    qrels.write_text("".join(line for line in lines if line.split()[0] in topics))
    reports = {}
    for steps in ("1", "2", "auto"):
        files = ("-o", f"{steps}.run", "--save", f"{steps}.json", "--report", f"{steps}.report.json")
        done = avs("fuse", "--ltr", "--steps", steps, "--qrels", qrels, "--folds", 2, *runs, *files)
        assert done.returncode == 0, done.stderr
        found = reports[steps] = json.loads((tmp_path / f"{steps}.report.json").read_text())
        by_name = {step["name"]: step["value"] for step in found["steps"]}
        # The fused run is the one that the report names.
        assert avs("eval", "-m", "AP", qrels, f"{steps}.run").stdout.split()[1] == f"{by_name[found['fused']]:.4f}"
    one, two, auto = ({step["name"]: step["value"] for step in reports[steps]["steps"]} for steps in reports)
    assert one.keys() == two.keys() - {"Step 1 + 2"}
    assert one["Step 1"] == two["Step 1"] == auto["Step 1"]
    # What cross-validation left out is in the report as if it had been forced.
    assert two["Step 1 + 2"] == auto.get("Step 1 + 2 in every fold", auto.get("Step 1 + 2"))
    assert read_fuser(str(tmp_path / "1.json")).mix == 0
    assert read_fuser(str(tmp_path / "2.json")).mix > 0
    assert json.loads((tmp_path / "1.json").read_text())["verdict"] == "Step 1 requested"
    assert json.loads((tmp_path / "2.json").read_text())["verdict"].startswith("requested; Step 2 ")


def test_step_2_cannot_be_forced_on_too_few_topics(avs: Avs, folder: Path) -> None:
    line = ("fuse", "--ltr", "--steps", "2", "--qrels", "q.txt", *paths(folder))
    failed(avs(*line), 3, "4 training topics are too few for Step 2, which needs at least 6")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--report", "-", "--method", "weighted", "--qrels", "q.txt"), "-o FILE"),
        (("--report", "r.doc", "--ltr", "--qrels", "q.txt"), "r.doc"),
        (("--report", "r.json"), "--report"),
        (("--save", "f.json"), "--save"),
        (("--save", "f.json", "--load", "g.json"), "--save"),
        (("--ltr", "--method", "borda", "--qrels", "q.txt"), "are mutually exclusive"),
        (("--ltr", "--method", "rrf", "--qrels", "q.txt"), "are mutually exclusive"),
        (("--ltr", "--method", "weighted:weights=1/2/3", "--qrels", "q.txt"), "are mutually exclusive"),
        (("--load", "f.json", "--method", "borda"), "are mutually exclusive"),
        (("--load", "f.json", "--qrels", "q.txt", "--seed", "1"), "--qrels and --seed have no effect with --load"),
        (("--load", "f.json", "--folds", "5"), "--folds has no effect with --load"),
        (("--load", "f.json", "--measure", "AP"), "--measure has no effect with --load"),
        (("--load", "f.json", "--steps", "auto"), "--steps has no effect with --load"),
        (("--qrels", "q.txt"), "--qrels has no effect with --method rrf; add --ltr"),
        (("--method", "combsum", "--seed", "0", "--measure", "AP"), "--measure and --seed have no effect"),
        (("--method", "weighted", "--qrels", "q.txt", "--steps", "1"), "--steps has no effect without --ltr"),
        (("--ltr", "--qrels", "q.txt", "--save", "f.json", "--folds", "3"), "--folds has no effect on the saved model"),
        (("--ltr", "--qrels", "q.txt", "--steps", "3"), "--steps"),
        (("--ltr", "--qrels", "q.txt", "--folds", "1"), "--folds"),
        (("--ltr", "--qrels", "q.txt", "--folds", "year"), "--folds"),
        (("--ltr", "--qrels", "q.txt", "--measure", "bpref"), "bpref"),
        (("--method", "rff"), "rrf"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(avs: Avs, folder: Path, arguments: tuple, words: str) -> None:  # type: ignore[type-arg]
    failed(avs("fuse", *paths(folder), *arguments), 2, words)


def test_bad_input_is_told_in_a_line_with_its_code(avs: Avs, folder: Path) -> None:
    one, two, _ = paths(folder)
    (folder / "empty.run").write_text("")
    (folder / "none.run").write_text("")
    (folder / "other.run").write_text("7 Q0 shot1 1 1 x\n")
    (folder / "one.trec").write_text(one.read_text())
    (folder / "single.txt").write_text("1661 0 shot1 1\n")
    (folder / "elsewhere.txt").write_text("99 0 shot1 1\n")
    failed(avs("fuse", "empty.run", "none.run"), 3, "all runs are empty")
    failed(avs("fuse", one), 2, "at least two runs")
    failed(avs("fuse", one, one), 3, "two runs are named")
    failed(avs("fuse", "other.run", one), 3, "no topic in common")
    failed(avs("fuse", one, "missing.run"), 3, "missing.run")
    failed(avs("fuse", one, "none/*.run"), 3, "none/*.run")
    failed(avs("fuse", "--ltr", "--qrels", "single.txt", one, two), 3, "1 judged topic")
    failed(avs("fuse", "--ltr", "--qrels", "elsewhere.txt", one, two), 3, "judges none")
    failed(avs("fuse", "--ltr", "--qrels", "missing.txt", one, two), 3, "missing.txt")
    failed(avs("fuse", "--ltr", "--qrels", one, one, two), 3, "one.trec")


def test_both_steps_learn_from_real_runs_and_beat_rrf(
    avs: Avs, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    runs = sorted(shared_data("trec-covid-r1/runs").iterdir())[:8]
    qrels = shared_data("trec-covid-r1/qrels.covid-round1.txt")
    done = avs(
        "fuse", "--ltr", "--qrels", qrels, "--measure", "AP", "--folds", 2, *runs, "-o", "ltr.run", "--report", "r.json"
    )
    assert done.returncode == 0
    steps = {step["name"]: step["value"] for step in json.loads((tmp_path / "r.json").read_text())["steps"]}
    # Step 2 stands aside, and the report says what it would have brought, unless it is sure to help.
    assert steps["RRF"] < steps["Step 1"] <= steps.get("Step 1 + 2", 1.0)
    assert ("Step 1 only" in done.stderr) == ("Step 1 + 2 in every fold" in steps), done.stderr
    evaluated = avs("eval", "-m", "AP", qrels, "ltr.run").stdout.split()[1]
    assert evaluated == f"{steps.get('Step 1 + 2', steps['Step 1']):.4f}"


def test_methods_that_learn_say_what_they_need_and_refuse_what_has_no_effect(avs: Avs, folder: Path) -> None:
    line = ("fuse", *paths(folder), "--method")
    failed(avs(*line, "segfuse"), 2, "--method segfuse learns from judgments", "--qrels", "AVS_QRELS")
    failed(avs(*line, "borda:weights=measure"), 2, "learns from judgments")
    failed(avs(*line, "posfuse", "--qrels", "q.txt", "--measure", "AP"), 2, "--measure has no effect")
    failed(avs(*line, "posfuse", "--qrels", "q.txt", "--save", "f.json"), 2, "--save has no effect")
    failed(avs(*line, "posfuse:window=2", "--qrels", "q.txt"), 2, "posfuse", "window")
    failed(avs(*line, "probfuse:segments=0", "--qrels", "q.txt"), 2, "segments must be at least 1")
    failed(avs(*line, "borda", "--qrels", "q.txt"), 2, "--qrels has no effect")
    failed(avs(*line, "slidefuse", "--qrels", "q.txt", "--folds", 1), 2, "--folds 1")
    by_measure = [avs(*line, "wmnz", "--qrels", "q.txt", "--measure", name) for name in ("AP", "P@5")]
    assert by_measure[0].stdout != by_measure[1].stdout != ""
    assert "5 judged topics ranked out of fold (5 folds, P@5), 1 others" in by_measure[1].stderr


def test_a_comparison_is_a_table_and_says_which_method_to_use(avs: Avs, folder: Path) -> None:
    line = ("fuse", *paths(folder), "--compare", "--qrels", "q.txt")
    done = avs(*line)
    assert done.returncode == 0 and done.stderr == ""
    rows = {row.split()[0]: row.split() for row in done.stdout.splitlines() if row.split()}
    assert rows["method"] == ["method", "learns", "AP", "gap", "p", "nDCG@20", "P@10", "seconds"]
    assert rows["segfuse"][1] == "yes" and {"rrf", "slidefuse", "condorcet:weights=measure"} <= set(rows)
    assert done.stdout.splitlines()[-1].startswith("best: --")
    found = json.loads(avs(*line, "--json").stdout)
    assert found["measures"] == ["AP", "nDCG@20", "P@10"] and found["topics"] == 5
    assert found["advice"] == done.stdout.splitlines()[-1]
    shown = {row["method"]: row for row in found["rows"]}
    assert f"{shown['rrf']['values']['AP']:.4f}" in rows["rrf"]
    failed(avs("fuse", *paths(folder), "--compare"), 2, "--compare needs judgments")
    failed(avs(*line, "--ltr", "-o", "f.run"), 2, "--ltr and --output have no effect with --compare")
    failed(avs("fuse", *paths(folder), "--json"), 2, "--json has no effect without --compare")


@pytest.mark.parametrize("how", [["--method", "rrf"], ["--method", "combmed"], ["--ltr", "--qrels", "q.txt"]])
def test_a_run_of_texts_that_found_nothing_changes_nothing(avs: Avs, folder: Path, how: list[str]) -> None:
    (folder / "words.run").write_text("")
    without, fused = (avs("fuse", *paths(folder)[:2], *more, *how) for more in ([], ["words.run"]))
    assert "words.run is empty and changes nothing" in fused.stderr
    orders = [[line.split()[:3] for line in ran.stdout.splitlines()] for ran in (without, fused)]
    assert orders[0] == orders[1] and len(orders[0]) > 100
