"""What `avs train` and `avs distill` share: the data, the judge, and a training that can be killed and goes on."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from avs_cli.console import note, progress
from avs_cli.core.text import encoders
from avs_cli.errors import FormatError, MismatchError, SpecError, UnavailableError, few

if TYPE_CHECKING:
    from torch import nn

    from avs_cli.core.fitting import Epoch, Optimizer, Precision, Schedule, Trainable
    from avs_cli.core.heads._blocks import Head
    from avs_cli.core.pairs import Denial, Pairs
    from avs_cli.io.compatibility import Comparison
    from avs_cli.types import Topic

# Captions, and videos, over which a head's attention is averaged for `avs info`.
SAMPLE = 500
B = TypeVar("B")


class Team(NamedTuple):
    """The processes of a torchrun; one alone otherwise."""

    rank: int
    size: int
    device: str

    @classmethod
    def join(cls, stack: ExitStack, device: str) -> "Team":
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(0, 1, device)
        import torch

        if device.startswith("cuda"):
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(device)
        # The first process may take hours over what the others wait for; torchrun ends them if it dies.
        patience = timedelta(days=7)
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=patience)
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

    def wait(self) -> None:
        """Until all processes are here."""
        self.agree(0.0)


def is_encoder(name: str) -> bool:
    return name.partition(":")[0] in encoders.names()


class Data:
    """The stores of a training, open; and what they hold of some captions."""

    def __init__(
        self,
        stack: ExitStack,
        videos: Sequence[str],
        texts: Sequence[str],
        skip_missing: bool,
        comparison: "Comparison | None" = None,
    ):
        from avs_cli.io.galleries import Galleries

        self.videos: Galleries = stack.enter_context(Galleries(videos, comparison))
        self.texts: Galleries = stack.enter_context(Galleries(texts, comparison))
        self.skip_missing = skip_missing

    def arrange(self, init: str) -> None:
        """Bring the features into the order of a head that is trained on; the stores may come in any order."""
        from avs_cli.io.checkpoint import load_head

        described = load_head(init).head
        for galleries, end in ((self.videos, "videos"), (self.texts, "texts")):
            galleries.check(init, described[end])
            known = [feature["name"] for feature in described[end]]
            if extra := [name for name in galleries.features if name not in known]:
                raise MismatchError(f"{init} does not take {extra[0]!r}; it takes {', '.join(known)}")
            galleries.features = {name: galleries.features[name] for name in known}

    def only(self, videos: Sequence[str], texts: Sequence[str]) -> "Data":
        """Of the features those of these names, in their order."""
        part = copy(self)
        part.videos, part.texts = self.videos.only(videos), self.texts.only(texts)
        return part

    def pairs(self, files: Sequence[str], negated: str = "") -> "Pairs":
        """The captions of some files, with their videos and vectors."""
        from avs_cli.io.captions import item_of, read_all

        sentences = read_all(files)
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

    def same(self, pairs: "Pairs") -> "Pairs":
        """The captions and videos of other pairs, with their vectors here."""
        return self.of(pairs.captions, pairs.sentences, pairs.items, [pairs.items[k] for k in pairs.item.tolist()])

    def _complete(self, captions: list[str], items: list[str], files: str) -> list[str]:
        """The captions of which no store lacks the video or the vector."""
        import numpy as np

        whole = np.ones(len(captions), bool)
        for galleries, ids in ((self.videos, items), (self.texts, captions)):
            for feature in galleries.features:
                there = galleries.places(feature, ids) >= 0
                if not there.all() and not self.skip_missing:
                    lost = list(dict.fromkeys(ids[i] for i in np.flatnonzero(~there)))
                    option = "--video" if galleries is self.videos else "--text"
                    raise MismatchError(
                        f"{galleries.stores_of(feature)} lacks {len(lost)} of the items in {files}: {few(lost)}; "
                        f"if they are in another store, add it with a second {option} STORE; otherwise, --skip-missing "
                        "skips their captions"
                    )
                whole &= there
        if not whole.all():
            note(f"{files}: {int((~whole).sum())} of {len(captions)} captions left out, which a store lacks")
        if whole.sum() < 2:
            raise MismatchError(f"{files}: fewer than two captions whose videos the stores hold")
        return [caption for caption, kept in zip(captions, whole, strict=True) if kept]

    def complete_items(self, items: Sequence[str]) -> list[str]:
        """The items that all video features hold."""
        import numpy as np

        there = [self.videos.places(feature, items) >= 0 for feature in self.videos.features]
        return [item for item, whole in zip(items, np.logical_and.reduce(there).tolist(), strict=True) if whole]

    def stored_topics(self, topics: "Mapping[str, Topic]", files: str) -> "dict[str, Topic]":
        """The topics whose vectors all text features hold, by the ids that judgments use.

        Raises MismatchError where one is missing, unless what is missing is left out, and where none is there.
        """
        kept = dict(topics)
        for feature in self.texts.features:
            places = self.texts.places(feature, [topic.id for topic in topics.values()])
            lost = [id for id, place in zip(topics, places.tolist(), strict=True) if place < 0]
            if lost and not self.skip_missing:
                raise MismatchError(
                    f"{self.texts.stores_of(feature)} lacks {len(lost)} of the topics in {files}: {few(lost)}; encode "
                    "them with `avs extract --text` and add the store with --text, or use --skip-missing"
                )
            kept = {id: topic for id, topic in kept.items() if id not in lost}
        if not kept:
            raise MismatchError(f"{files}: no topic that is judged and whose vectors the text stores hold")
        if len(kept) < len(topics):
            note(f"{files}: {len(topics) - len(kept)} of {len(topics)} topics left out, which a text store lacks")
        return kept

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


def corpus_of(pairs: "Pairs", path: str) -> Any:
    from avs_cli.core.text._words import Corpus
    from avs_cli.io.bigfile import read_word_vectors

    vectors = read_word_vectors(path) if path else None
    return Corpus(pairs.sentences, vectors=vectors, dim=vectors.vectors.shape[1] if vectors else 500)


def described_head(
    spec: str, texts: Sequence[str], init: str, data: Data, pairs: "Pairs", word_vectors: str
) -> dict[str, Any]:
    """The head to train, in words."""
    from avs_cli.core.heads._blocks import Input
    from avs_cli.core.heads._described import describe
    from avs_cli.io.checkpoint import load_head

    if init:
        described = load_head(init).head
        described.pop("weights", None)
        described.pop("state", None)
        return described
    galleries = {"videos": data.videos.features, "texts": data.texts.features}
    videos, stored = (
        [Input(name, gallery.dim, gallery.frame_level) for name, gallery in end.items()] for end in galleries.values()
    )
    specs = [name for name in texts if is_encoder(name)]
    if not stored and not specs:
        raise SpecError("a head needs --text: a store of the captions' vectors, or a text encoder such as bow")
    provenances = {end: {name: gallery.provenance for name, gallery in held.items()} for end, held in galleries.items()}
    return describe(spec, videos, stored, specs, corpus_of(pairs, word_vectors), provenances)


class Judging(Protocol):
    """Says how good a model is; more of `metric`, one of the values, is better."""

    metric: str

    def values(self, model: Any) -> dict[str, float]:
        """All that is measured."""
        ...


class Judge:
    """Says how good a head is, by captions or by judged topics."""

    def __init__(self, data: Data, files: Sequence[str], qrels: str, metric: str):
        self.metric, self.evaluator = metric, None
        if not qrels:
            self.pairs = data.pairs(files)
            return
        from avs_cli.core.evaluation import Evaluator
        from avs_cli.io.topics import align_topics, read_topics
        from avs_cli.io.trec import read_qrels

        judgments = read_qrels(qrels)
        listed = {topic.id: topic for name in files for topic in read_topics(name)}
        topics, renamed = align_topics(listed, judgments)
        if renamed:
            note(renamed)
        asked = data.stored_topics({id: topic for id, topic in topics.items() if id in judgments}, ", ".join(files))
        pool = sorted({shot for topic in asked for shot in judgments[topic]})
        items = data.complete_items(pool)
        if not items:
            raise MismatchError(
                f"{qrels} judges no shot of the --validate topics that the video stores hold; if they are in "
                "another store, add it with a second --video STORE"
            )
        self.evaluator = Evaluator({topic: judgments[topic] for topic in asked}, [metric])
        self.topics = [*asked]
        ids, sentences = zip(*((topic.id, topic.query) for topic in asked.values()), strict=True)
        self.pairs = data.of(ids, sentences, items, items[:1] * len(asked))

    def values(self, head: "Head") -> dict[str, float]:
        """The measure, more is better."""
        from avs_cli.core.caption_ranks import measures, text_ranks
        from avs_cli.core.pairs import score_matrix

        scores = score_matrix(head, self.pairs)
        if self.evaluator is None:
            return {self.metric: measures(text_ranks(scores, self.pairs.item))[self.metric]}
        rows = zip(self.topics, scores.tolist(), strict=True)
        run = {topic: dict(zip(self.pairs.items, row, strict=True)) for topic, row in rows}
        means = self.evaluator.evaluate(run).means
        return {self.metric: float(next(iter(means.values())))}


class Log(NamedTuple):
    """What has been reached: an entry per epoch, and the best of them."""

    rows: list[dict[str, float]]
    best: float = float("-inf")
    best_epoch: int = -1


@dataclass(frozen=True)
class Plan:
    """How a training goes.

    output       the best model's file; what goes on from is beside it in `.last`, the epochs' values in `.csv`
    settings     what decides the weights besides model and data; of `.last` they must be the same
    epochs       at most so many
    patience     stop after more epochs than this without a better value
    time_limit   minutes; begin no epoch that would end later; 0: no limit
    tensorboard  a folder for curves, or ""
    """

    output: str
    settings: Mapping[str, Any]
    epochs: int
    seed: int
    precision: "Precision" = "fp32"
    patience: int = 10
    time_limit: float = 0.0
    tensorboard: str = ""


@dataclass
class Training(Generic[B]):
    """A model that learns from batches; killed after any epoch and begun again, it ends in the same bytes.

    described  what rebuilds the model, for its file
    model      whose weights are kept
    loss       from a batch to what is made small
    batches    an epoch's batches by its number, `steps` of them
    judge      None: the model of the last epoch is kept
    about      what a file tells of the model besides; asked when a model is kept
    clip       the largest global norm of the gradients
    """

    plan: Plan
    team: Team
    described: dict[str, Any]
    model: "nn.Module"
    loss: "Trainable[B]"
    optimizer: "Optimizer"
    schedule: "Schedule"
    batches: Callable[[int], Iterable[B]]
    steps: int
    judge: Judging | None
    about: Callable[[], Mapping[str, Any]] = dict
    clip: float = 2.0

    def run(self) -> None:
        """Epochs until there is no better model. Raises AvsError while another process trains into the same file."""
        from avs_cli.io.lock import locked

        with locked(Path(self.plan.output)) if self.team.rank == 0 else nullcontext():
            self._run()

    def _run(self) -> None:
        import torch

        from avs_cli.core.fitting import fit

        plan = self.plan
        kind = self.team.device.partition(":")[0]
        self.scaler = torch.amp.GradScaler(kind, enabled=plan.precision == "fp16")
        self.described["training"] = dict(plan.settings)
        self.log = self._resumed() or self._begun()
        done = len(self.log.rows)
        started, longest = time.monotonic(), 0.0
        with progress("training", plan.epochs * self.steps) as advance, _curves(plan.tensorboard, self.team) as curve:
            advance(done * self.steps)

            def batches(number: int) -> Iterator[B]:
                for batch in self.batches(number):
                    yield batch
                    advance(1, f"epoch {number}")

            if self._is_over():
                note(f"{self._last}: nothing better for more than {plan.patience} epochs; a larger --patience goes on")
                return
            for epoch in fit(
                self.loss, batches, self.optimizer, self.schedule, range(done + 1, plan.epochs + 1), self.steps,
                plan.seed + 7919 * self.team.rank, self.clip, plan.precision, self.scaler,
            ):  # fmt: skip
                self._end(epoch, curve)
                if self._is_over():
                    break
                longest = max(longest, (time.monotonic() - started) / (len(self.log.rows) - done))
                left = plan.time_limit * 60 - (time.monotonic() - started)
                if self.team.agree(float(plan.time_limit > 0 and left < longest)) and epoch.number < plan.epochs:
                    note(f"no time for epoch {epoch.number + 1}; the same command goes on there")
                    break
        if self.judge and self.log.rows and self.log.best_epoch == 0 and self.team.rank == 0:
            start = f"{self.judge.metric} {self.log.best:.4f}"
            note(f"no epoch is better than the start ({start}), which {plan.output} holds; learn longer or otherwise")

    @property
    def _last(self) -> str:
        return f"{self.plan.output}.last"

    def _begun(self) -> Log:
        """The log of a training that begins: of the model as it is, untrained."""
        values = self._values()
        if self.team.rank == 0:
            self._keep_best()
        return Log([], values[self.judge.metric], 0) if self.judge else Log([])

    def _values(self) -> dict[str, float]:
        """What the judge says; other processes than the first know the metric alone."""
        if self.judge is None:
            return {}
        values = self.judge.values(self.model) if self.team.rank == 0 else {self.judge.metric: 0.0}
        return {**values, self.judge.metric: self.team.agree(values[self.judge.metric])}

    def _end(self, epoch: "Epoch", curve: Callable[[int, Mapping[str, float]], None]) -> None:
        """Judge, keep and tell what an epoch has made of the model."""
        values = self._values()
        value = values[self.judge.metric] if self.judge else float(epoch.number)
        better = value > self.log.best
        rate = max(float(group["lr"]) for group in self.optimizer.param_groups)
        row = {"epoch": float(epoch.number), "loss": epoch.loss, **values}
        rows = [*self.log.rows, {**row, "learning_rate": rate, "seconds": epoch.seconds}]
        self.log = Log(rows, value, epoch.number) if better else self.log._replace(rows=rows)
        self.schedule.step(value)
        if self.team.rank:
            return
        if better:
            self._keep_best()
        self._keep_last()
        _write_csv(f"{self.plan.output}.csv", rows)
        curve(epoch.number, rows[-1])
        measured = f", {self.judge.metric} {value:.4f}{' (best)' if better else ''}" if self.judge else ""
        note(f"epoch {epoch.number}: loss {epoch.loss:.4f}{measured}")

    def _is_over(self) -> bool:
        log = self.log
        return self.judge is not None and bool(log.rows) and len(log.rows) - log.best_epoch > self.plan.patience

    def _keep_best(self) -> None:
        from avs_cli.io.checkpoint import save_head

        save_head(self.plan.output, {**self.described, **self.about()}, self.model.state_dict())

    def _keep_last(self) -> None:
        """The model as it is now, and what a resumed training needs."""
        from avs_cli.core.fitting import optimizer_arrays
        from avs_cli.io.checkpoint import save_head

        state = {"log": self.log._asdict(), "schedule": self.schedule.state(), "scaler": self.scaler.state_dict()}
        arrays = optimizer_arrays(self.optimizer)
        save_head(self._last, {**self.described, "state": state}, self.model.state_dict(), arrays)

    def _resumed(self) -> Log | None:
        """Put everything as it was after the last whole epoch; None when there was none.

        Raises MismatchError when that was another training.
        """
        if not Path(self._last).exists():
            return None
        from avs_cli.core.fitting import restore_optimizer
        from avs_cli.core.heads._described import load_weights
        from avs_cli.io.checkpoint import load_head

        kept = load_head(self._last, training=True)
        told = dict(kept.head)
        state = told.pop("state", None)
        if state is None:
            raise FormatError(self._last, "a head, but not one to go on from")
        self._check(told)
        log = Log(**state["log"])
        if state["schedule"].keys() != self.schedule.state().keys() or not log.rows:
            raise FormatError(self._last, "its state is not that of this training; move it away to begin anew")
        load_weights(self.model, kept.weights, self._last)
        restore_optimizer(self.optimizer, kept.training)
        for key, value in state["schedule"].items():
            setattr(self.schedule, key, value)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        note(f"going on after epoch {len(log.rows)} of {self._last}")
        if log.rows and self.team.rank == 0:
            # A kill between the two files leaves this one an epoch behind.
            _write_csv(f"{self.plan.output}.csv", log.rows)
        return log

    def _check(self, told: Mapping[str, Any]) -> None:
        """Raises MismatchError unless this is the training that was begun."""
        theirs, ours = told.get("training", {}), self.described["training"]
        for key in theirs.keys() | ours.keys() - {"versions"}:
            if key != "versions" and ours.get(key) != theirs.get(key):
                raise MismatchError(
                    f"{self._last} is of a training with {key} {theirs.get(key)!r}, and this is one with "
                    f"{ours.get(key)!r}; move it away"
                )
        for key in ("kind", "settings", "videos", "texts", "encoders"):
            if told[key] != self.described[key]:
                raise MismatchError(f"{self._last} is of a training with other {key}; move it away to begin anew")


def settings_of(given: Mapping[str, Any], pairs: "Pairs") -> dict[str, Any]:
    """What decides the weights besides the head: settings and data, no time and no place."""
    import hashlib

    from avs_cli.provenance import versions

    lines = "".join(
        f"{caption} {sentence}\n" for caption, sentence in zip(pairs.captions, pairs.sentences, strict=True)
    )
    settled = {key: value for key, value in given.items() if key not in ("head", "text")}
    if given["schedule"] == "plateau":
        settled.pop("epochs")
    return {
        **settled,
        "captions": len(pairs.captions),
        "videos": len(pairs.items),
        "captions_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "versions": versions("avs-cli", "numpy", "torch"),
    }


def optimizer_of(parameters: Iterable[Any], settings: Mapping[str, Any]) -> "Optimizer":
    """The rule that takes the steps, by its name, of parameters or groups of them."""
    from avs_cli.core.bert_adam import BertAdam
    from avs_cli.core.fitting import AdamW, RMSprop

    rate = settings["learning_rate"]
    if settings["optimizer"] == "rmsprop":
        return RMSprop(parameters, rate)
    kinds: dict[str, type[AdamW | BertAdam]] = {"adamw": AdamW, "bertadam": BertAdam}
    return kinds[settings["optimizer"]](parameters, rate, weight_decay=settings["weight_decay"])


def schedule_of(settings: Mapping[str, Any]) -> "Schedule":
    """How the steps' size changes, by its name."""
    from avs_cli.core.fitting import Cosine, Plateau

    return Cosine(settings["epochs"]) if settings["schedule"] == "cosine" else Plateau()


def _write_csv(path: str, rows: Sequence[Mapping[str, float]]) -> None:
    """A line per epoch: its number and loss, the metrics, what it took."""
    from avs_cli.io.atomic import writing

    first, last = ["epoch", "loss"], ["learning_rate", "seconds"]
    # R@5 before R@10; rows that come from a file to resume from have their keys sorted.
    metrics = sorted(rows[-1].keys() - {*first, *last}, key=lambda name: (len(name), name))
    columns = [*first, *metrics, *last]
    with writing(path) as out:
        out.write(",".join(columns) + "\n")
        for row in rows:
            out.write(",".join(f"{row[column]:.6g}" if column in row else "" for column in columns) + "\n")


@contextmanager
def _curves(folder: str, team: Team) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
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
