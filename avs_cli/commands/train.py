"""`avs train`: a head from captions, stores of video features and text features."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from avs_cli.console import note, progress
from avs_cli.core.heads import heads
from avs_cli.core.objectives import objectives
from avs_cli.core.text import encoders
from avs_cli.errors import FormatError, MismatchError, SpecError, UnavailableError
from avs_cli.options import Device, Seed, Threads

if TYPE_CHECKING:
    from avs_cli.core.fitting import Epoch, Optimizer, Schedule
    from avs_cli.core.heads._blocks import Head
    from avs_cli.core.pairs import Batch, Denial, Pairs

# Captions, and videos, over which a head's attention is averaged for `avs info`.
SAMPLE = 500
CAPTION_METRICS = ("mir", "mAP", "SumR")


def train(
    captions: Annotated[list[str], typer.Argument(metavar="CAPTIONS...", help="Captions to learn from.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The head, .safetensors.")],
    video: Annotated[list[str], typer.Option(metavar="STORE", help="Video features; repeat for each store.")],
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STORE|NAME", help=f"A store of the captions' vectors, or one of {', '.join(encoders.names())}."
        ),
    ] = None,
    head: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(heads.names())}; laff by default.", show_default=False)
    ] = "",
    objective: Annotated[
        str, typer.Option(metavar="NAME", help=f"What is made small: {', '.join(objectives.names())}.")
    ] = "triplet",
    validate: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Captions (or, with --qrels, topics) to choose by.")
    ] = None,
    qrels: Annotated[str, typer.Option(metavar="FILE", help="Judgments of the --validate topics.")] = "",
    metric: Annotated[
        str,
        typer.Option(metavar="NAME", help="mir, mAP or SumR; with --qrels any measure.", show_default="mir; xinfAP"),
    ] = "",
    init: Annotated[str, typer.Option(metavar="HEAD", help="Start from this head, with its vocabularies.")] = "",
    negated: Annotated[str, typer.Option(metavar="FILE", help="Sentences that deny captions, JSON lines.")] = "",
    word_vectors: Annotated[
        str, typer.Option(metavar="PATH", help="Pretrained word vectors: a BigFile folder or a text file.")
    ] = "",
    optimizer: Annotated[Literal["rmsprop", "adamw"], typer.Option(help="Which rule takes the steps.")] = "rmsprop",
    learning_rate: Annotated[float, typer.Option(min=0.0, help="The largest step size.")] = 1e-4,
    schedule: Annotated[
        Literal["plateau", "cosine"], typer.Option(help="plateau, as published, or one wave down to zero.")
    ] = "plateau",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the captions.")] = 80,
    patience: Annotated[int, typer.Option(min=0, help="Stop after more epochs than this without a better value.")] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Captions per step.")] = 128,
    precision: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="Of the head's products.")] = "fp32",
    seed: Seed = 0,
    time_limit: Annotated[
        float, typer.Option(min=0.0, metavar="MINUTES", help="Begin no epoch that would end later; 0: no limit.")
    ] = 0.0,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out captions whose video or vector a store lacks.")
    ] = False,
    tensorboard: Annotated[str, typer.Option(metavar="FOLDER", help="Write curves for TensorBoard.")] = "",
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Train a head that finds videos by sentences.

    The best head by the validation measure goes to FILE, each epoch's values to FILE.csv. FILE.last is a head too, with
    what the training needs to go on: given again, the command goes on after the last whole epoch, as if it had never
    stopped. Several data sets are several captions and several stores. Under torchrun, processes share the work.
    """
    if output == "-":
        raise SpecError("train needs a file for --output: it keeps the state of the training beside it")
    given: dict[str, Any] = dict(
        head=head or ("" if init else "laff"), text=text or [], objective=objective, optimizer=optimizer,
        learning_rate=learning_rate, schedule=schedule, epochs=epochs, batch_size=batch_size, precision=precision,
        seed=seed, metric=metric or ("xinfAP" if qrels else "mir"),
    )  # fmt: skip
    if init and (head or [name for name in given["text"] if _is_encoder(name)]):
        raise SpecError("--init brings the head and its text encoders; give --head and encoders in --text without it")
    if qrels and not validate:
        raise SpecError("--qrels judges the topics of --validate; give both")
    if validate and not qrels and given["metric"] not in CAPTION_METRICS:
        raise SpecError(f"--metric {metric}: with captions one of {', '.join(CAPTION_METRICS)}; else give --qrels")
    if objective.partition(":")[0] == "negation":
        if not negated:
            raise SpecError("the negation objective needs --negated FILE")
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise SpecError("the negation objective runs in one process, not under torchrun")
    from avs_cli.core.device import prepare

    place = prepare(device, threads)
    with ExitStack() as stack:
        team = _Team.join(stack, place.device)
        data = _Data(stack, video, [name for name in given["text"] if not _is_encoder(name)], skip_missing)
        learned = data.pairs(captions, negated)
        described = _described(given, init, data, learned, word_vectors)
        judged = _Judge(data, validate, qrels, str(given["metric"])) if validate else None
        _train(described, given, patience, time_limit, init, output, tensorboard, word_vectors, team, learned, judged)


class _Team(NamedTuple):
    """The processes of a torchrun; one alone otherwise."""

    rank: int
    size: int
    device: str

    @classmethod
    def join(cls, stack: ExitStack, device: str) -> "_Team":
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(0, 1, device)
        import torch

        if device.startswith("cuda"):
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        stack.callback(torch.distributed.destroy_process_group)
        return cls(torch.distributed.get_rank(), size, device)

    def agree(self, value: float) -> float:
        """What the first process says."""
        if self.size == 1:
            return value
        import torch

        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(told, 0)
        return float(told)


def _is_encoder(name: str) -> bool:
    return name.partition(":")[0] in encoders.names()


class _Data:
    """The stores of a training, open; and what they hold of some captions."""

    def __init__(self, stack: ExitStack, videos: Sequence[str], texts: Sequence[str], skip_missing: bool):
        from avs_cli.io.galleries import Galleries

        self.videos: Galleries = stack.enter_context(Galleries(videos))
        self.texts: Galleries = stack.enter_context(Galleries(texts))
        self.skip_missing = skip_missing
        for feature, gallery in self.texts.features.items():
            if gallery.frame_level:
                raise MismatchError(f"{self.texts.stores_of(feature)}: several vectors per item; a text has one")

    def pairs(self, files: Sequence[str], negated: str = "") -> "Pairs":
        """The captions of some files, with their videos and vectors."""
        from avs_cli.io.captions import item_of, read_captions

        sentences: dict[str, str] = {}
        for name in files:
            for caption, sentence in read_captions(name).items():
                if caption in sentences:
                    raise MismatchError(f"caption {caption!r} is in {name} and in another file; ids must differ")
                sentences[caption] = sentence
        kept = self._complete([*sentences], [item_of(caption) for caption in sentences], ", ".join(files))
        items = list(dict.fromkeys(item_of(caption) for caption in kept))
        return self.of(kept, [sentences[c] for c in kept], items, [item_of(c) for c in kept], self._denials(negated))

    def of(
        self,
        texts: Sequence[str],
        sentences: Sequence[str],
        items: Sequence[str],
        item: Sequence[str],
        denials: "Mapping[str, list[Denial]] | None" = None,
    ) -> "Pairs":
        """Texts, of which `item` names the video of each, and videos."""
        import numpy as np

        from avs_cli.core.pairs import Column, Pairs

        place = {name: position for position, name in enumerate(items)}
        return Pairs(
            texts,
            sentences,
            items,
            np.array([place[name] for name in item], np.int64),
            [Column(g, self.videos.places(feature, items)) for feature, g in self.videos.features.items()],
            [Column(g, self.texts.places(feature, texts)) for feature, g in self.texts.features.items()],
            {k: denials[caption] for k, caption in enumerate(texts) if denials and caption in denials},
        )

    def _complete(self, captions: list[str], items: list[str], files: str) -> list[str]:
        """The captions of which no store lacks the video or the vector."""
        import numpy as np

        whole = np.ones(len(captions), bool)
        for galleries, ids in ((self.videos, items), (self.texts, captions)):
            for feature in galleries.features:
                there = galleries.places(feature, ids) >= 0
                if not there.all() and not self.skip_missing:
                    lost = list(dict.fromkeys(ids[i] for i in np.flatnonzero(~there)))
                    some = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
                    raise MismatchError(
                        f"{galleries.stores_of(feature)} lacks {len(lost)} of the items in {files}: {some}; "
                        "--skip-missing leaves them out"
                    )
                whole &= there
        if not whole.all():
            note(f"{files}: {int((~whole).sum())} of {len(captions)} captions left out, which a store lacks")
        if whole.sum() < 2:
            raise MismatchError(f"{files}: fewer than two captions whose videos the stores hold")
        return [caption for caption, kept in zip(captions, whole, strict=True) if kept]

    def _denials(self, path: str) -> "dict[str, list[Denial]]":
        """Per caption the sentences that deny it: lines of {"id": caption, "false": [{"id": …, "falsesent": …}]}."""
        if not path:
            return {}
        import json

        from avs_cli.core.pairs import Denial
        from avs_cli.io.pipe import read_text

        found: dict[str, list[Denial]] = {}
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                told = [(str(one.get("id", "")), str(one["falsesent"])) for one in record.get("false", [])]
                caption = str(record["id"])
            except (ValueError, KeyError, TypeError, AttributeError):
                raise FormatError(path, 'not {"id": …, "false": [{"id": …, "falsesent": …}]}', number) from None
            for id, sentence in told:
                places = []
                for feature in self.texts.features:
                    place = int(self.texts.places(feature, [id])[0])
                    if place < 0:
                        raise MismatchError(f"{self.texts.stores_of(feature)} lacks {id!r}, which {path} denies with")
                    places.append(place)
                found.setdefault(caption, []).append(Denial(sentence, tuple(places)))
        return found


def _corpus(pairs: "Pairs", path: str) -> Any:
    from avs_cli.core.text._words import Corpus
    from avs_cli.io.bigfile import read_word_vectors

    vectors = read_word_vectors(path) if path else None
    return Corpus(pairs.sentences, vectors=vectors, dim=vectors.vectors.shape[1] if vectors else 500)


def _described(given: Mapping[str, Any], init: str, data: _Data, pairs: "Pairs", word_vectors: str) -> dict[str, Any]:
    """The head to train, in words."""
    from avs_cli.core.heads._blocks import Input
    from avs_cli.core.heads._described import describe
    from avs_cli.io.checkpoint import load_head

    if init:
        described = load_head(init).head
        described.pop("weights", None)
        described.pop("state", None)
        for galleries, end in ((data.videos, "videos"), (data.texts, "texts")):
            galleries.check(init, described[end])
            known = [feature["name"] for feature in described[end]]
            if extra := [name for name in galleries.features if name not in known]:
                raise MismatchError(f"{init} does not take {extra[0]!r}; it takes {', '.join(known)}")
            # The stores may come in any order; the head has its own.
            galleries.features = {name: galleries.features[name] for name in known}
        return described
    ends = [
        [Input(name, gallery.dim, gallery.frame_level) for name, gallery in galleries.features.items()]
        for galleries in (data.videos, data.texts)
    ]
    specs = [name for name in given["text"] if _is_encoder(name)]
    if not ends[1] and not specs:
        raise SpecError("train needs --text: a store of the captions' vectors, or a text encoder such as bow")
    provenances = {n: g.provenance for side in (data.videos, data.texts) for n, g in side.features.items()}
    return describe(given["head"], ends[0], ends[1], specs, _corpus(pairs, word_vectors), provenances)


class _Judge:
    """Says how good a head is, by captions or by judged topics."""

    def __init__(self, data: _Data, files: Sequence[str], qrels: str, metric: str):
        self.metric, self.evaluator = metric, None
        if not qrels:
            self.pairs = data.pairs(files)
            return
        from avs_cli.core.evaluation import Evaluator
        from avs_cli.io.topics import align_topics, read_topics
        from avs_cli.io.trec import read_qrels

        judgments = read_qrels(qrels)
        topics, renamed = align_topics({t.id: t.query for name in files for t in read_topics(name)}, judgments)
        if renamed:
            note(renamed)
        asked = [topic for topic in topics if topic in judgments]
        pool = sorted({shot for topic in asked for shot in judgments[topic]})
        known = data.videos.places(next(iter(data.videos.features)), pool) >= 0
        items = [shot for shot, there in zip(pool, known, strict=True) if there]
        if not items:
            raise MismatchError(f"{qrels} judges no shot of the --validate topics that the video stores hold")
        self.evaluator = Evaluator({topic: judgments[topic] for topic in asked}, [metric])
        self.pairs = data.of(asked, [topics[topic] for topic in asked], items, items[:1] * len(asked))

    def value(self, head: "Head") -> float:
        """The measure, more is better."""
        from avs_cli.core.pairs import caption_measures, caption_ranks, score_matrix

        scores = score_matrix(head, self.pairs)
        if self.evaluator is None:
            return caption_measures(caption_ranks(scores, self.pairs.item))[self.metric]
        rows = zip(self.pairs.captions, scores.tolist(), strict=True)
        run = {topic: dict(zip(self.pairs.items, row, strict=True)) for topic, row in rows}
        means = self.evaluator.evaluate(run).means
        return float(next(iter(means.values())))


class _Log(NamedTuple):
    """What has been reached: an entry per epoch, and the best of them."""

    rows: list[dict[str, float]]
    best: float = float("-inf")
    best_epoch: int = -1


def _train(
    described: dict[str, Any],
    given: Mapping[str, Any],
    patience: int,
    time_limit: float,
    init: str,
    output: str,
    tensorboard: str,
    word_vectors: str,
    team: _Team,
    pairs: "Pairs",
    judged: _Judge | None,
) -> None:
    """Epochs until there is no better head."""
    import torch

    from avs_cli.core.fitting import fit
    from avs_cli.core.heads._described import load_weights, rebuild
    from avs_cli.core.pairs import Matching
    from avs_cli.io.checkpoint import load_head

    torch.manual_seed(given["seed"])
    head = rebuild(described, None if init else _corpus(pairs, word_vectors)).to(team.device)
    if init:
        load_weights(head, load_head(init).weights, init)
    optimizer, schedule = _optimizer(head, given), _schedule(given)
    scaler = torch.amp.GradScaler(team.device.partition(":")[0], enabled=given["precision"] == "fp16")
    described["training"] = _training(given, pairs)
    last = f"{output}.last"
    log = _resume(last, described, head, optimizer, schedule, scaler)
    if log is None:
        log = _Log([])
        if judged is not None:
            value = team.agree(judged.value(head) if team.rank == 0 else 0.0)
            log = _Log([], value, 0)
        if team.rank == 0:
            _save_best(output, described, head, judged.pairs if judged else pairs)
    matching = Matching(head, objectives.load(given["objective"])())
    steps = pairs.steps(given["batch_size"], team.size)
    done = len(log.rows)
    begun, longest = time.monotonic(), 0.0
    with progress("training", given["epochs"] * steps) as advance, _curves(tensorboard, team) as curve:
        advance(done * steps)

        def batches(number: int) -> "Iterator[Batch]":
            for batch in pairs.epoch(number, given["batch_size"], given["seed"], team.rank, team.size):
                yield batch
                advance(1, f"epoch {number}")

        if _is_over(log, patience, judged):
            note(f"{last}: no better head for more than {patience} epochs; a larger --patience goes on")
            return
        for epoch in fit(
            matching, batches, optimizer, schedule, range(done + 1, given["epochs"] + 1), steps,
            given["seed"] + 7919 * team.rank, precision=given["precision"], scaler=scaler,
        ):  # fmt: skip
            value = float(epoch.number)
            if judged is not None:
                value = team.agree(judged.value(head) if team.rank == 0 else 0.0)
            log, better = _logged(log, epoch, value, optimizer, judged is not None)
            schedule.step(value)
            if team.rank == 0:
                if better:
                    _save_best(output, described, head, judged.pairs if judged else pairs)
                _save_last(last, described, head, optimizer, schedule, scaler, log)
                _write_csv(f"{output}.csv", log.rows, judged)
                curve(epoch.number, log.rows[-1])
                measured = f", {judged.metric} {value:.4f}{' (best)' if better else ''}" if judged else ""
                note(f"epoch {epoch.number}: loss {epoch.loss:.4f}{measured}")
            if _is_over(log, patience, judged):
                break
            longest = max(longest, (time.monotonic() - begun) / (len(log.rows) - done))
            left = time_limit * 60 - (time.monotonic() - begun)
            if team.agree(float(time_limit > 0 and left < longest)) and epoch.number < given["epochs"]:
                note(f"no time for epoch {epoch.number + 1}; the same command goes on there")
                break


def _is_over(log: _Log, patience: int, judged: _Judge | None) -> bool:
    return judged is not None and bool(log.rows) and len(log.rows) - log.best_epoch > patience


def _optimizer(head: "Head", given: Mapping[str, Any]) -> "Optimizer":
    from avs_cli.core.fitting import AdamW, RMSprop

    kind: type[RMSprop | AdamW] = RMSprop if given["optimizer"] == "rmsprop" else AdamW
    return kind(head.parameters(), given["learning_rate"])


def _schedule(given: Mapping[str, Any]) -> "Schedule":
    from avs_cli.core.fitting import Cosine, Plateau

    return Cosine(given["epochs"]) if given["schedule"] == "cosine" else Plateau()


def _training(given: Mapping[str, Any], pairs: "Pairs") -> dict[str, Any]:
    """What decides the weights besides the head: settings and data, no time and no place."""
    import hashlib

    from avs_cli.provenance import versions

    lines = "".join(
        f"{caption} {sentence}\n" for caption, sentence in zip(pairs.captions, pairs.sentences, strict=True)
    )
    settled = {key: value for key, value in given.items() if key not in ("head", "text")}
    if given["schedule"] != "cosine":
        settled.pop("epochs")
    return {
        **settled,
        "captions": len(pairs.captions),
        "videos": len(pairs.items),
        "captions_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "versions": versions("avs-cli", "numpy", "torch"),
    }


def _logged(log: _Log, epoch: "Epoch", value: float, optimizer: "Optimizer", measured: bool) -> tuple[_Log, bool]:
    better = value > log.best
    row = {
        "epoch": float(epoch.number),
        "loss": epoch.loss,
        **({"value": value} if measured else {}),
        "learning_rate": float(optimizer.param_groups[0]["lr"]),
        "seconds": epoch.seconds,
    }
    rows = [*log.rows, row]
    return (_Log(rows, value, epoch.number) if better else _Log(rows, log.best, log.best_epoch)), better


def _save_best(path: str, described: dict[str, Any], head: "Head", pairs: "Pairs") -> None:
    """The head, with how much its features count on the average over a sample of these pairs."""
    from avs_cli.core.pairs import mean_weights
    from avs_cli.io.checkpoint import save_head

    save_head(path, {**described, "weights": mean_weights(head, pairs, SAMPLE)}, head.state_dict())


def _save_last(
    path: str, described: dict[str, Any], head: "Head", optimizer: "Optimizer", schedule: "Schedule", scaler: Any,
    log: _Log,
) -> None:  # fmt: skip
    """The head as it is now, and what a resumed training needs."""
    from avs_cli.core.fitting import optimizer_arrays
    from avs_cli.io.checkpoint import save_head

    state = {"log": log._asdict(), "schedule": schedule.state(), "scaler": scaler.state_dict()}
    save_head(path, {**described, "state": state}, head.state_dict(), optimizer_arrays(optimizer))


def _resume(
    path: str, described: dict[str, Any], head: "Head", optimizer: "Optimizer", schedule: "Schedule", scaler: Any
) -> _Log | None:
    """Put everything as it was after the last whole epoch; None when there was none.

    Raises MismatchError when that was another training.
    """
    if not Path(path).exists():
        return None
    from avs_cli.core.fitting import restore_optimizer
    from avs_cli.core.heads._described import load_weights
    from avs_cli.io.checkpoint import load_head

    kept = load_head(path, training=True)
    told = dict(kept.head)
    state = told.pop("state", None)
    if state is None:
        raise FormatError(path, "a head, but not one to go on from")
    for key in told["training"].keys() | described["training"].keys() - {"versions"}:
        ours, theirs = described["training"].get(key), told["training"].get(key)
        if key != "versions" and ours != theirs:
            raise MismatchError(
                f"{path} is of a training with {key} {theirs!r}, and this is one with {ours!r}; move it away"
            )
    for key in ("kind", "settings", "videos", "texts", "encoders"):
        if told[key] != described[key]:
            raise MismatchError(f"{path} is of a training with other {key}; move it away to begin anew")
    load_weights(head, kept.weights, path)
    restore_optimizer(optimizer, kept.training)
    for key, value in state["schedule"].items():
        setattr(schedule, key, value)
    if scaler.is_enabled():
        scaler.load_state_dict(state["scaler"])
    log = _Log(**state["log"])
    note(f"going on after epoch {len(log.rows)} of {path}")
    return log


def _write_csv(path: str, rows: Iterable[Mapping[str, float]], judged: _Judge | None) -> None:
    from avs_cli.io.atomic import writing

    names = {"value": judged.metric if judged else "value"}
    with writing(path) as out:
        for number, row in enumerate(rows):
            if not number:
                out.write(",".join(names.get(key, key) for key in row) + "\n")
            out.write(",".join(f"{value:.6g}" for value in row.values()) + "\n")


@contextmanager
def _curves(folder: str, team: _Team) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Takes an epoch's values to TensorBoard, if that is wanted."""
    if not folder or team.rank:
        yield lambda number, row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise UnavailableError("--tensorboard needs a package; pip install 'avs-cli[tensorboard]'") from None
    with SummaryWriter(folder) as writer:

        def write(number: int, row: Mapping[str, float]) -> None:
            for key in row.keys() - {"epoch"}:
                writer.add_scalar(key, row[key], number)

        yield write
