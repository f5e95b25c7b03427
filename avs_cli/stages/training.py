"""Shared by `avs train` and `avs distill`: data, validation, and training that can be interrupted and resumed."""

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
from avs_cli.core.models.text import text_encoders
from avs_cli.errors import FormatError, MismatchError, SpecError, UnavailableError, few

if TYPE_CHECKING:
    from torch import nn

    from avs_cli.core.models.layers import Head
    from avs_cli.core.training.loop import Epoch, Optimizer, Precision, Schedule, Trainable
    from avs_cli.core.training.pairs import Denial, Pairs
    from avs_cli.io.store.compatibility import Comparison
    from avs_cli.types import Topic

# Captions, and videos, over which the feature weights for `avs info` are averaged.
SAMPLE = 500
B = TypeVar("B")


class Team(NamedTuple):
    """The processes of torchrun, or a single process."""

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
        # The first process may take hours while the others wait; torchrun ends them if it dies.
        patience = timedelta(days=7)
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=patience)
        stack.callback(torch.distributed.destroy_process_group)
        return cls(torch.distributed.get_rank(), size, device)

    def agree(self, value: float) -> float:
        """The value of the first process."""
        if self.size == 1:
            return value
        import torch

        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(told, 0)
        return float(told)

    def wait(self) -> None:
        """Wait for all processes."""
        self.agree(0.0)


def is_encoder(name: str) -> bool:
    return name.partition(":")[0] in text_encoders.names()


class Data:
    """The open stores of a training, and the captions and vectors in them."""

    def __init__(
        self,
        stack: ExitStack,
        videos: Sequence[str],
        texts: Sequence[str],
        skip_missing: bool,
        comparison: "Comparison | None" = None,
    ):
        from avs_cli.io.store.galleries import Galleries

        self.videos: Galleries = stack.enter_context(Galleries(videos, comparison))
        self.texts: Galleries = stack.enter_context(Galleries(texts, comparison))
        self.skip_missing = skip_missing

    def arrange(self, init: str) -> None:
        """Order the features as in the initial head; the stores may be given in any order."""
        from avs_cli.io.head_file import load_head

        described = load_head(init).head
        for galleries, end in ((self.videos, "videos"), (self.texts, "texts")):
            galleries.check(init, described[end])
            known = [feature["name"] for feature in described[end]]
            if extra := [name for name in galleries.features if name not in known]:
                raise MismatchError(f"{init} does not take {extra[0]!r}; it takes {', '.join(known)}")
            galleries.features = {name: galleries.features[name] for name in known}

    def only(self, videos: Sequence[str], texts: Sequence[str]) -> "Data":
        """The features with these names, in this order."""
        part = copy(self)
        part.videos, part.texts = self.videos.only(videos), self.texts.only(texts)
        return part

    def pairs(self, files: Sequence[str], negated: str = "") -> "Pairs":
        """The captions in `files`, with their videos and vectors."""
        from avs_cli.io.text.captions import item_of, read_all

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
        """Pairs of texts and videos; `item` gives the video of each text."""
        import numpy as np

        from avs_cli.core.training.pairs import Column, Pairs

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
        """The captions and videos of other pairs, with vectors from these stores."""
        return self.of(pairs.captions, pairs.sentences, pairs.items, [pairs.items[k] for k in pairs.item.tolist()])

    def _complete(self, captions: list[str], items: list[str], files: str) -> list[str]:
        """The captions whose video and vector are in all stores."""
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
                        f"add a store that has them with {option} STORE, or skip their captions with --skip-missing"
                    )
                whole &= there
        if not whole.all():
            note(f"{files}: {int((~whole).sum())} of {len(captions)} captions skipped: missing from a store")
        if whole.sum() < 2:
            raise MismatchError(f"{files}: fewer than two captions with a video in the stores")
        return [caption for caption, kept in zip(captions, whole, strict=True) if kept]

    def complete_items(self, items: Sequence[str]) -> list[str]:
        """The items that have all video features."""
        import numpy as np

        there = [self.videos.places(feature, items) >= 0 for feature in self.videos.features]
        return [item for item, whole in zip(items, np.logical_and.reduce(there).tolist(), strict=True) if whole]

    def stored_topics(self, topics: "Mapping[str, Topic]", files: str) -> "dict[str, Topic]":
        """The topics with vectors for all text features, by their ids in the judgments.

        Raises MismatchError for missing topics, unless they are skipped, and if no topic is left.
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
            raise MismatchError(f"{files}: no judged topic with a vector in the text stores")
        if len(kept) < len(topics):
            note(f"{files}: {len(topics) - len(kept)} of {len(topics)} topics skipped: missing from a text store")
        return kept

    def _denials(self, path: str) -> "dict[str, list[Denial]]":
        """Negated captions by caption, from lines {"id": caption, "false": [{"id": …, "falsesent": …}]}."""
        if not path:
            return {}
        import json

        from avs_cli.core.training.pairs import Denial
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
                        raise MismatchError(
                            f"{self.texts.stores_of(feature)} lacks the negated caption {id!r} of {path}"
                        )
                    places.append(place)
                found.setdefault(caption, []).append(Denial(sentence, tuple(places)))
        return found


def corpus_of(pairs: "Pairs", path: str) -> Any:
    from avs_cli.core.models.text.words import Corpus
    from avs_cli.io.bigfile import read_word_vectors

    vectors = read_word_vectors(path) if path else None
    return Corpus(pairs.sentences, vectors=vectors, dim=vectors.vectors.shape[1] if vectors else 500)


def described_head(
    spec: str, texts: Sequence[str], init: str, data: Data, pairs: "Pairs", word_vectors: str
) -> dict[str, Any]:
    """The description of the head to train."""
    from avs_cli.core.models.described import describe
    from avs_cli.core.models.layers import Input
    from avs_cli.io.head_file import load_head

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
        raise SpecError("a head needs --text: a store of caption vectors, or a text encoder such as bow")
    provenances = {end: {name: gallery.provenance for name, gallery in held.items()} for end, held in galleries.items()}
    return describe(spec, videos, stored, specs, corpus_of(pairs, word_vectors), provenances)


class Judging(Protocol):
    """Validation of a model; higher is better for `metric`, one of the values."""

    metric: str

    def values(self, model: Any) -> dict[str, float]:
        """All validation values."""
        ...


class Judge:
    """Validation of a head on captions or on judged topics."""

    def __init__(self, data: Data, files: Sequence[str], qrels: str, metric: str):
        self.metric, self.evaluator = metric, None
        if not qrels:
            self.pairs = data.pairs(files)
            return
        from avs_cli.core.evaluation.evaluator import Evaluator
        from avs_cli.io.text.topics import align_topics, read_topics
        from avs_cli.io.text.trec import read_qrels

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
                f"{qrels} judges no shot of the --validate topics in the video stores; if they are in another "
                "store, add it with --video STORE"
            )
        self.evaluator = Evaluator({topic: judgments[topic] for topic in asked}, [metric])
        self.topics = [*asked]
        ids, sentences = zip(*((topic.id, topic.query) for topic in asked.values()), strict=True)
        self.pairs = data.of(ids, sentences, items, items[:1] * len(asked))

    def values(self, head: "Head") -> dict[str, float]:
        """The validation values; higher is better."""
        from avs_cli.core.evaluation.captions import measures, text_ranks
        from avs_cli.core.training.pairs import score_matrix

        scores = score_matrix(head, self.pairs)
        if self.evaluator is None:
            return {self.metric: measures(text_ranks(scores, self.pairs.item))[self.metric]}
        rows = zip(self.topics, scores.tolist(), strict=True)
        run = {topic: dict(zip(self.pairs.items, row, strict=True)) for topic, row in rows}
        means = self.evaluator.evaluate(run).means
        return {self.metric: float(next(iter(means.values())))}


class Log(NamedTuple):
    """The history of a training: one row per epoch, and the best epoch."""

    rows: list[dict[str, float]]
    best: float = float("-inf")
    best_epoch: int = -1


@dataclass(frozen=True)
class Plan:
    """The plan of a training.

    output       file of the best model; `.last` next to it has the state for resuming, `.csv` the values of each epoch
    settings     what determines the weights besides model and data; they must equal those of `.last`
    epochs       maximum number of epochs
    patience     stop after more epochs than this without improvement
    time_limit   in minutes: no epoch starts that would exceed it; 0 is no limit
    tensorboard  log directory, or ""
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
    """Training of a model on batches; interrupted after any epoch and resumed, it gives the same bytes.

    described  the description that rebuilds the model
    model      the module whose weights are saved
    loss       from a batch to the training loss
    batches    epoch number -> its batches, `steps` of them
    judge      the validation; None: the model of the last epoch is saved
    about      further facts for the file of the model
    clip       maximum global norm of the gradients
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
        """Train until validation stops improving. Raises AvsError while another process trains into the same file."""
        from avs_cli.io.lock import locked

        with locked(Path(self.plan.output)) if self.team.rank == 0 else nullcontext():
            self._run()

    def _run(self) -> None:
        import torch

        from avs_cli.core.training.loop import fit

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
                note(
                    f"{self._last}: no improvement for more than {plan.patience} epochs; a larger --patience continues"
                )
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
                    note(f"no time for epoch {epoch.number + 1}; the same command resumes there")
                    break
        if self.judge and self.log.rows and self.log.best_epoch == 0 and self.team.rank == 0:
            start = f"{self.judge.metric} {self.log.best:.4f}"
            note(f"no epoch is better than the start ({start}), which {plan.output} holds; learn longer or otherwise")

    @property
    def _last(self) -> str:
        return f"{self.plan.output}.last"

    def _begun(self) -> Log:
        """The log of a new training: the untrained model."""
        values = self._values()
        if self.team.rank == 0:
            self._keep_best()
        return Log([], values[self.judge.metric], 0) if self.judge else Log([])

    def _values(self) -> dict[str, float]:
        """The validation values; processes other than the first have the metric only."""
        if self.judge is None:
            return {}
        values = self.judge.values(self.model) if self.team.rank == 0 else {self.judge.metric: 0.0}
        return {**values, self.judge.metric: self.team.agree(values[self.judge.metric])}

    def _end(self, epoch: "Epoch", curve: Callable[[int, Mapping[str, float]], None]) -> None:
        """Validate, save and report the model after an epoch."""
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
        from avs_cli.io.head_file import save_head

        save_head(self.plan.output, {**self.described, **self.about()}, self.model.state_dict())

    def _keep_last(self) -> None:
        """Save the current model with the state for resuming."""
        from avs_cli.core.training.loop import optimizer_arrays
        from avs_cli.io.head_file import save_head

        state = {"log": self.log._asdict(), "schedule": self.schedule.state(), "scaler": self.scaler.state_dict()}
        arrays = optimizer_arrays(self.optimizer)
        save_head(self._last, {**self.described, "state": state}, self.model.state_dict(), arrays)

    def _resumed(self) -> Log | None:
        """Restore the state after the last complete epoch; None when there was none.

        Raises MismatchError if the state belongs to a different training.
        """
        if not Path(self._last).exists():
            return None
        from avs_cli.core.models.described import load_weights
        from avs_cli.core.training.loop import restore_optimizer
        from avs_cli.io.head_file import load_head

        kept = load_head(self._last, training=True)
        told = dict(kept.head)
        state = told.pop("state", None)
        if state is None:
            raise FormatError(self._last, "a head without a training state; cannot resume")
        self._check(told)
        log = Log(**state["log"])
        if state["schedule"].keys() != self.schedule.state().keys() or not log.rows:
            raise FormatError(self._last, "its state does not belong to this training; move it away to start over")
        load_weights(self.model, kept.weights, self._last)
        restore_optimizer(self.optimizer, kept.training)
        for key, value in state["schedule"].items():
            setattr(self.schedule, key, value)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        note(f"resuming after epoch {len(log.rows)} of {self._last}")
        if log.rows and self.team.rank == 0:
            # If killed between the two files, this one is an epoch behind.
            _write_csv(f"{self.plan.output}.csv", log.rows)
        return log

    def _check(self, told: Mapping[str, Any]) -> None:
        """Raises MismatchError unless the state belongs to this training."""
        theirs, ours = told.get("training", {}), self.described["training"]
        for key in theirs.keys() | ours.keys() - {"versions"}:
            if key != "versions" and ours.get(key) != theirs.get(key):
                raise MismatchError(
                    f"{self._last} is from a training with {key} {theirs.get(key)!r}, not {ours.get(key)!r}; "
                    "move it away to start over"
                )
        for key in ("kind", "settings", "videos", "texts", "encoders"):
            if told[key] != self.described[key]:
                raise MismatchError(f"{self._last} is from a training with different {key}; move it away to start over")


def settings_of(given: Mapping[str, Any], pairs: "Pairs") -> dict[str, Any]:
    """What determines the weights besides the head: settings and data, but not time, device or paths."""
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
    """The optimizer of parameters or parameter groups, by name."""
    from avs_cli.core.training.bert_adam import BertAdam
    from avs_cli.core.training.loop import AdamW, RMSprop

    rate = settings["learning_rate"]
    if settings["optimizer"] == "rmsprop":
        return RMSprop(parameters, rate)
    kinds: dict[str, type[AdamW | BertAdam]] = {"adamw": AdamW, "bertadam": BertAdam}
    return kinds[settings["optimizer"]](parameters, rate, weight_decay=settings["weight_decay"])


def schedule_of(settings: Mapping[str, Any]) -> "Schedule":
    """The learning-rate schedule, by name."""
    from avs_cli.core.training.loop import CosineSchedule, Plateau

    return CosineSchedule(settings["epochs"]) if settings["schedule"] == "cosine" else Plateau()


def _write_csv(path: str, rows: Sequence[Mapping[str, float]]) -> None:
    """Write one line per epoch: number, loss, metrics and seconds."""
    from avs_cli.io.atomic import writing

    first, last = ["epoch", "loss"], ["learning_rate", "seconds"]
    # R@5 before R@10; rows from a resumed file have sorted keys.
    metrics = sorted(rows[-1].keys() - {*first, *last}, key=lambda name: (len(name), name))
    columns = [*first, *metrics, *last]
    with writing(path) as out:
        out.write(",".join(columns) + "\n")
        for row in rows:
            out.write(",".join(f"{row[column]:.6g}" if column in row else "" for column in columns) + "\n")


@contextmanager
def _curves(folder: str, team: Team) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """A function that logs an epoch to TensorBoard, if requested."""
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
