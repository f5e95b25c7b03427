"""Qwen3-VL-Reranker (Li et al. 2026, arXiv:2601.04720): Qwen3-VL, trained to judge whether a document fits a query.

The prompt is the authors', as are the answers, "yes" and "no" in lower case; their score is the logistic function of
these log-odds. It is written here: the weights come with a second template of chats, which transformers does not take.
Several frames are a video, as in the authors' evaluation, and a sheet is an image.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch

from avs_cli.core.encoders import Runtime
from avs_cli.core.judges import ShotQuestion
from avs_cli.core.judges.base import VisionLanguageJudge
from avs_cli.types import Seeing, Source

# Without the templates.
FILES = ("*.json", "*.txt", "*.safetensors")
MODELS = {
    "2b": Source(4.3, "Qwen/Qwen3-VL-Reranker-2B", FILES),
    "8b": Source(17.5, "Qwen/Qwen3-VL-Reranker-8B", FILES),
}
INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
PROMPT = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n<Instruct>: {instruction}<Query>:{query}\n<Document>:{document}<|im_end|>\n"
    "<|im_start|>assistant\n"
)


class QwenReranker(VisionLanguageJudge):
    """Qwen3-VL-Reranker."""

    kind = "qwen3_vl"
    yes = ("yes",)
    no = ("no",)

    @cached_property
    def processor(self) -> Any:
        """The processor, which limits the pixels of videos as the authors' code does."""
        processor = self.loaded_processor()
        processor.video_processor.cap_pixels_per_frame = True
        return processor

    def is_video(self, question: ShotQuestion) -> bool:
        """Whether the frames of a shot are shown as a video."""
        return self.seeing.layout == "frames" and len(question.frames) > 1

    def text(self, question: ShotQuestion) -> str:
        """The authors' prompt."""
        document = VIDEO if self.is_video(question) else IMAGE
        return PROMPT.format(instruction=INSTRUCTION, query=question.topic.query, document=document)

    def processed(self, questions: Sequence[ShotQuestion], images: list[list[Any]]) -> Mapping[str, torch.Tensor]:
        """Texts, images and videos as the processor prepares them."""
        pairs = list(zip(questions, images, strict=True))
        still = [own for question, own in pairs if not self.is_video(question)]
        moving = [(question, own) for question, own in pairs if self.is_video(question)]
        # The prompt has the time of each pair of frames.
        times = [
            {
                "fps": len(own) / max(question.seconds, 1e-3),
                "frames_indices": list(range(len(own))),
                "total_num_frames": len(own),
            }
            for question, own in moving
        ]
        found: Mapping[str, torch.Tensor] = self.processor(
            text=[self.text(question) for question in questions],
            images=still or None,
            videos=[own for _, own in moving] or None,
            padding=True,
            return_tensors="pt",
            **({"video_metadata": times, "do_sample_frames": False} if moving else {}),
        )
        return found


def load(runtime: Runtime, seeing: Seeing, variant: Literal["2b", "8b"] = "2b") -> QwenReranker:
    """Qwen3-VL-Reranker of this size."""
    return QwenReranker(runtime, MODELS[variant], seeing)
