"""Training that can be interrupted and resumed: epochs, validation, the files of a model and of its state."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn

from avs_cli.core.models.described import load_weights
from avs_cli.core.training.bert_adam import BertAdam
from avs_cli.core.training.loop import (
    AdamW,
    CosineSchedule,
    Epoch,
    Optimizer,
    Plateau,
    Precision,
    RMSprop,
    Schedule,
    Trainable,
    fit,
    optimizer_arrays,
    restore_optimizer,
)
from avs_cli.core.training.pairs import Pairs
from avs_cli.errors import FormatError, MismatchError, UnavailableError
from avs_cli.io.atomic import writing
from avs_cli.io.head_file import load_head, save_head
from avs_cli.io.lock import locked
from avs_cli.provenance import versions
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.team import Team
from avs_cli.stages.validation import Validation

# Captions, and videos, over which the feature weights for `avs info` are averaged.
SAMPLE = 500
B = TypeVar("B")


class Log(NamedTuple):
    """The history of a training, as its state has it: one row per epoch, the best value and its epoch."""

    rows: list[dict[str, float]]
    best: float = float("-inf")
    best_epoch: int = -1


class Trained(NamedTuple):
    """What a training has written, and how it went.

    path        file of the best model; without validation, of the last one
    rows        the values of each complete epoch, as in the file `.csv` beside it: epoch, loss, the validation values,
                learning_rate and seconds
    metric      what chose the best epoch; "" without validation
    best        its value there; None without validation
    best_epoch  the epoch of the model; 0 if none was better than the untrained model
    unreadable  ids of the videos that could not be decoded, whose captions were left out
    """

    path: str
    rows: list[dict[str, float]]
    metric: str
    best: float | None
    best_epoch: int
    unreadable: tuple[str, ...] = ()


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
    precision: Precision = "fp32"
    patience: int = 10
    time_limit: float = 0.0
    tensorboard: str = ""


@dataclass
class Training(Generic[B]):
    """Training of a model on batches; interrupted after any epoch and resumed, it gives the same bytes.

    described   the description that rebuilds the model
    model       the module whose weights are saved
    loss        from a batch to the training loss
    batches     epoch number -> its batches, `steps` of them
    validation  None: the model of the last epoch is saved
    about       further facts for the file of the model
    clip        maximum global norm of the gradients
    """

    plan: Plan
    team: Team
    described: dict[str, Any]
    model: nn.Module
    loss: Trainable[B]
    optimizer: Optimizer
    schedule: Schedule
    batches: Callable[[int], Iterable[B]]
    steps: int
    validation: Validation | None
    about: Callable[[], Mapping[str, Any]] = dict
    clip: float = 2.0
    report: Reporter = LOGGED

    def run(self) -> Trained:
        """Train until validation stops improving. Raises AvsError while another process trains into the same file."""
        with locked(Path(self.plan.output)) if self.team.rank == 0 else nullcontext():
            self._run()
        log, metric = self.log, self.validation.metric if self.validation else ""
        if self.validation is None:
            return Trained(self.plan.output, log.rows, metric, None, len(log.rows))
        return Trained(self.plan.output, log.rows, metric, log.best, log.best_epoch)

    def _run(self) -> None:
        plan = self.plan
        kind = self.team.device.partition(":")[0]
        self.scaler = torch.amp.GradScaler(kind, enabled=plan.precision == "fp16")
        self.described["training"] = dict(plan.settings)
        self.log = self._resumed() or self._begun()
        done = len(self.log.rows)
        started, longest = time.monotonic(), 0.0
        total = plan.epochs * self.steps
        with (
            self.report.progress("training", total) as advance,
            _curves(plan.tensorboard, self.team) as curve,
        ):
            advance(done * self.steps)

            def batches(number: int) -> Iterator[B]:
                for batch in self.batches(number):
                    yield batch
                    advance(1, f"epoch {number}")

            if self._is_over():
                self.report.note(
                    f"{self._state}: no improvement for more than {plan.patience} epochs; a larger --patience continues"
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
                if self.team.broadcast(float(plan.time_limit > 0 and left < longest)) and epoch.number < plan.epochs:
                    self.report.note(f"no time for epoch {epoch.number + 1}; the same command resumes there")
                    break
        if self.validation and self.log.rows and self.log.best_epoch == 0 and self.team.rank == 0:
            start = f"{self.validation.metric} {self.log.best:.4f}"
            self.report.note(
                f"no epoch is better than the start ({start}), which {plan.output} holds; learn longer or otherwise"
            )

    @property
    def _state(self) -> str:
        return f"{self.plan.output}.last"

    def _begun(self) -> Log:
        """The log of a new training: the untrained model."""
        values = self._values()
        if self.team.rank == 0:
            self._save_best()
        return Log([], values[self.validation.metric], 0) if self.validation else Log([])

    def _values(self) -> dict[str, float]:
        """The validation values; processes other than the first have the metric only."""
        if self.validation is None:
            return {}
        values = self.validation.values(self.model) if self.team.rank == 0 else {self.validation.metric: 0.0}
        return {**values, self.validation.metric: self.team.broadcast(values[self.validation.metric])}

    def _end(self, epoch: Epoch, curve: Callable[[int, Mapping[str, float]], None]) -> None:
        """Validate, save and report the model after an epoch."""
        values = self._values()
        value = values[self.validation.metric] if self.validation else float(epoch.number)
        better = value > self.log.best
        rate = max(float(group["lr"]) for group in self.optimizer.param_groups)
        row = {"epoch": float(epoch.number), "loss": epoch.loss, **values}
        rows = [*self.log.rows, {**row, "learning_rate": rate, "seconds": epoch.seconds}]
        self.log = Log(rows, value, epoch.number) if better else self.log._replace(rows=rows)
        self.schedule.step(value)
        if self.team.rank:
            return
        if better:
            self._save_best()
        self._save_state()
        _write_csv(f"{self.plan.output}.csv", rows)
        curve(epoch.number, rows[-1])
        measured = f", {self.validation.metric} {value:.4f}{' (best)' if better else ''}" if self.validation else ""
        self.report.note(f"epoch {epoch.number}: loss {epoch.loss:.4f}{measured}")

    def _is_over(self) -> bool:
        log = self.log
        return self.validation is not None and bool(log.rows) and len(log.rows) - log.best_epoch > self.plan.patience

    def _save_best(self) -> None:
        save_head(self.plan.output, {**self.described, **self.about()}, self.model.state_dict())

    def _save_state(self) -> None:
        """Save the current model with the state for resuming."""
        state = {"log": self.log._asdict(), "schedule": self.schedule.state(), "scaler": self.scaler.state_dict()}
        arrays = optimizer_arrays(self.optimizer)
        save_head(self._state, {**self.described, "state": state}, self.model.state_dict(), arrays)

    def _resumed(self) -> Log | None:
        """Restore the state after the last complete epoch; None when there was none.

        Raises MismatchError if the state belongs to a different training.
        """
        if not Path(self._state).exists():
            return None
        saved = load_head(self._state, training=True)
        described = dict(saved.head)
        state = described.pop("state", None)
        if state is None:
            raise FormatError(self._state, "a head without a training state; cannot resume")
        self._check(described)
        log = Log(**state["log"])
        if state["schedule"].keys() != self.schedule.state().keys() or not log.rows:
            raise FormatError(self._state, "its state does not belong to this training; move it away to start over")
        load_weights(self.model, saved.weights, self._state)
        restore_optimizer(self.optimizer, saved.training)
        for key, value in state["schedule"].items():
            setattr(self.schedule, key, value)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.report.note(f"resuming after epoch {len(log.rows)} of {self._state}")
        if log.rows and self.team.rank == 0:
            # If killed between the two files, this one is an epoch behind.
            _write_csv(f"{self.plan.output}.csv", log.rows)
        return log

    def _check(self, described: Mapping[str, Any]) -> None:
        """Raises MismatchError unless the state belongs to this training."""
        theirs, ours = described.get("training", {}), self.described["training"]
        for key in theirs.keys() | ours.keys() - {"versions"}:
            if key != "versions" and ours.get(key) != theirs.get(key):
                raise MismatchError(
                    f"{self._state} is from a training with {key} {theirs.get(key)!r}, not {ours.get(key)!r}; "
                    "move it away to start over"
                )
        for key in ("kind", "settings", "videos", "texts", "encoders"):
            if described[key] != self.described[key]:
                raise MismatchError(
                    f"{self._state} is from a training with different {key}; move it away to start over"
                )


def settings_of(given: Mapping[str, Any], pairs: Pairs) -> dict[str, Any]:
    """What determines the weights besides the head: settings and data, but not time, device or paths."""
    digest = hashlib.sha256()
    for caption, sentence in zip(pairs.captions, pairs.sentences, strict=True):
        digest.update(f"{caption} {sentence}\n".encode())
    # A training whose schedule does not depend on the number of epochs may be continued to more of them.
    decisive = {key: value for key, value in given.items() if key != "epochs" or given["schedule"] != "plateau"}
    return {
        **decisive,
        "captions": len(pairs.captions),
        "videos": len(pairs.items),
        "captions_sha256": digest.hexdigest(),
        "versions": versions("avs-cli", "numpy", "torch"),
    }


def optimizer_of(parameters: Iterable[Any], settings: Mapping[str, Any]) -> Optimizer:
    """The optimizer of parameters or parameter groups, by name."""
    rate = settings["learning_rate"]
    if settings["optimizer"] == "rmsprop":
        return RMSprop(parameters, rate)
    kinds: dict[str, type[AdamW | BertAdam]] = {"adamw": AdamW, "bertadam": BertAdam}
    return kinds[settings["optimizer"]](parameters, rate, weight_decay=settings["weight_decay"])


def schedule_of(settings: Mapping[str, Any]) -> Schedule:
    """The learning-rate schedule, by name."""
    return CosineSchedule(settings["epochs"]) if settings["schedule"] == "cosine" else Plateau()


def _write_csv(path: str, rows: Sequence[Mapping[str, float]]) -> None:
    """Write one line per epoch: number, loss, metrics and seconds."""
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
