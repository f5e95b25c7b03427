"""Vision-language models as judges: the logit of yes less that of no, where the answer to a question would begin.

All questions of a batch end at the same place (left padding), so that the last position of each is that of the answer.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.judges import ShotQuestion
from avs_cli.core.weights import NetworkWeights
from avs_cli.errors import FormatError, SpecError
from avs_cli.types import Sampling, Seeing, Source, Topic, Whole

# The files of a repository; its templates of chats are needed too.
FILES = ("*.json", "*.txt", "*.jinja", "*.safetensors")
# Frames per second among which the frames of a shot are chosen.
FPS = 2.0
# What determines the pixels of a model, beside the model.
PREPROCESSING = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")

Message = Mapping[str, Any]


class VisionLanguageJudge:
    """A vision-language model that answers with one word; a subclass has what its family does differently.

    kind      the `model_type` of its configuration
    yes, no   words with which an answer begins, each of which is one token
    separate  settings of the processor for frames that are images of their own
    """

    kind: str
    yes: tuple[str, ...] = ("Yes", "yes", " Yes")
    no: tuple[str, ...] = ("No", "no", " No")
    separate: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, runtime: Runtime, source: Source, seeing: Seeing):
        if seeing.frames < 1:
            raise SpecError(f"judge: frames is at least 1, not {seeing.frames}")
        if seeing.size < 28:
            raise SpecError(f"judge: size is at least 28 pixels, not {seeing.size}")
        self.runtime, self.source, self.seeing = runtime, source, seeing
        self.sampling: Sampling | None = Sampling(fps=FPS, max_frames=seeing.frames)
        self.pixels = Whole(longest=seeing.size)

    @cached_property
    def files(self) -> NetworkWeights:
        """The weights on disk. Raises UnavailableError if there are none, FormatError for those of another family."""
        files = self.runtime.reader.locate(self.source, self.runtime.weights, self.seeing.model)
        kind = (files.json("config.json") or {}).get("model_type", "unknown")
        if kind != self.kind:
            raise FormatError(files.root, f"a model of type {kind}, and {self.seeing.model} is one of type {self.kind}")
        return files

    @property
    def name(self) -> str:
        """The model and its size."""
        millions = sum(math.prod(shape) for shape in self.files.shapes.values()) / 1e6
        return f"{self.seeing.model} ({millions:,.0f} million parameters)"

    @property
    def precision(self) -> str:
        """The precision of the network: "fp32", "bf16" or "fp16"; that of the last layer is fp32."""
        if self.runtime.precision != "auto":
            return self.runtime.precision
        return "fp32" if torch.device(self.runtime.device).type == "cpu" else "bf16"

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """Model, digest of its weights, precision, what it sees and what it is asked."""
        settings = {name: found for name in PREPROCESSING if (found := self.files.json(name))}
        shown = [[np.zeros((32, 32, 3), np.uint8)] * count for count in (1, 2)]
        return {
            "model": self.seeing.model.partition(":")[0],
            "weights": self.files.digest(self.runtime.remember),
            "precision": self.precision,
            "frames": self.seeing.frames,
            "fps": FPS,
            "layout": self.seeing.layout,
            "size": self.seeing.size,
            "preprocessing": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
            "prompts": [self.text(ShotQuestion(Topic("", "TOPIC"), "", frames)) for frames in shown],
            "answers": [list(self.yes), list(self.no)],
        }

    # The question

    def messages(self, question: ShotQuestion) -> list[Message]:
        """The chat that ends with the question."""
        count = len(question.frames)
        if count == 1:
            shown = "This is a frame of a video shot."
        elif self.seeing.layout == "sheet":
            shown = f"These are {count} frames of a video shot, in rows from left to right."
        else:
            shown = f"These are {count} frames of a video shot, in order."
        text = f"{shown} Does the shot show the following? {question.topic.query}\nAnswer Yes or No."
        return [{"role": "user", "content": [*self.visible(question), {"type": "text", "text": text}]}]

    def visible(self, question: ShotQuestion) -> list[dict[str, Any]]:
        """The places of the images in a chat."""
        return [{"type": "image"}] * (1 if self.seeing.layout == "sheet" else len(question.frames))

    def text(self, question: ShotQuestion) -> str:
        """The question as the model reads it, up to where the answer begins."""
        text: str = self.processor.apply_chat_template(self.messages(question), add_generation_prompt=True)
        return text

    def images(self, question: ShotQuestion) -> list[np.ndarray]:
        """The images, in order."""
        return [sheet(question.frames)] if self.seeing.layout == "sheet" else list(question.frames)

    def inputs(self, questions: Sequence[ShotQuestion]) -> Mapping[str, torch.Tensor]:
        """What the network reads. Raises SpecError for a query with a special token of the model, such as <image>."""
        from PIL import Image

        special = self.processor.tokenizer.all_special_tokens
        for topic in {question.topic.id: question.topic for question in questions}.values():
            if token := next((token for token in special if token in topic.query), ""):
                raise SpecError(f"topic {topic.id}: {token!r} has a meaning of its own for {self.seeing.model}")
        images = [[Image.fromarray(image) for image in self.images(question)] for question in questions]
        return self.processed(questions, images)

    def processed(self, questions: Sequence[ShotQuestion], images: list[list[Any]]) -> Mapping[str, torch.Tensor]:
        """Texts and images as the processor of the model prepares them."""
        settings = self.separate if self.seeing.layout == "frames" else {}
        found: Mapping[str, torch.Tensor] = self.processor(
            text=[self.text(question) for question in questions],
            images=images,
            padding=True,
            return_tensors="pt",
            **settings,
        )
        return found

    # The answer

    @cached_property
    def processor(self) -> Any:
        """The processor of texts and images."""
        return self.loaded_processor()

    def loaded_processor(self) -> Any:
        """The processor of the folder, with padding on the left."""
        processor = self.files.processor()
        processor.tokenizer.padding_side = "left"
        return processor

    @cached_property
    def answers(self) -> tuple[list[int], list[int]]:
        """The tokens of yes and of no. Raises FormatError for a word that is not one token."""
        found = []
        for words in (self.yes, self.no):
            tokens = [self.processor.tokenizer.encode(word, add_special_tokens=False) for word in words]
            for word, own in zip(words, tokens, strict=True):
                if len(own) != 1:
                    raise FormatError(self.files.root, f"{word!r} is {len(own)} tokens of this tokenizer, not one")
            found.append(sorted({own[0] for own in tokens}))
        return found[0], found[1]

    @cached_property
    def network(self) -> Any:
        """The network, whose last layer gives the logits of the answers alone."""
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]
        yes, no = self.answers
        network = self.files.generator(kind)
        network.set_output_embeddings(_AnswerHead(network.get_output_embeddings(), [*yes, *no]))
        return network.to(self.runtime.device).eval()

    @torch.inference_mode()
    def log_odds(self, questions: Sequence[ShotQuestion]) -> np.ndarray:
        """(N,) float64: the logarithm of the sum over the words for yes, less that over those for no."""
        prepared = self.inputs(questions)
        network = self.network
        inputs = {
            key: value.to(self.runtime.device, network.dtype if value.is_floating_point() else None)
            for key, value in prepared.items()
        }
        logits = network(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1]
        count = len(self.answers[0])
        odds = torch.logsumexp(logits[:, :count], 1) - torch.logsumexp(logits[:, count:], 1)
        return np.asarray(odds.double().cpu().numpy())


class _AnswerHead(nn.Module):
    """Some rows of a last layer, in float32: 16 bits would round logits to an eighth, and many verdicts would tie."""

    def __init__(self, head: nn.Linear, tokens: list[int]):
        super().__init__()
        self.register_buffer("weight", head.weight[tokens].detach().float())
        self.register_buffer("bias", None if head.bias is None else head.bias[tokens].detach().float())

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, T, D) states to (B, T, A) logits."""
        weight: Any = self.weight
        bias: Any = self.bias
        return nn.functional.linear(states.float(), weight, bias)


def sheet(frames: Sequence[np.ndarray]) -> np.ndarray:
    """The frames of a shot in rows from left to right, on black; about as many rows as columns."""
    columns = math.ceil(math.sqrt(len(frames)))
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    found = np.zeros((math.ceil(len(frames) / columns) * height, columns * width, 3), np.uint8)
    for place, frame in enumerate(frames):
        top, left = place // columns * height, place % columns * width
        found[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return found
