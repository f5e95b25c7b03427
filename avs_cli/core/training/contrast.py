"""Training of a teacher on clips together with CLIP, as its authors do: contrastive loss on text-video pairs.

X-CLIP (Ma et al. 2022, ACM MM, arXiv:2207.07285), TS2-Net (Liu et al. 2022, ECCV, arXiv:2207.07852) and X-Pool (Gorti
et al. 2022, CVPR, arXiv:2203.15086) have the loss of CLIP4Clip: the mean of both directions' cross-entropies over the
scaled scores of a batch. Other captions of the same video are masked; the published code treats them as negatives.
"""

import torch
from torch import nn
from torch.func import functional_call

from avs_cli.core.models.clip.student import ClipBatch
from avs_cli.core.models.teachers.clip_teacher import ClipTeacher
from avs_cli.core.training.distillation import matching_loss
from avs_cli.core.training.pairs import gathered
from avs_cli.core.training.teaching import NEVER, Lesson


class Contrast(nn.Module):
    """Contrastive loss of captions and their videos, over the pairs of all processes."""

    def __init__(self, model: ClipTeacher):
        super().__init__()
        self.model = model

    def begin_epoch(self) -> None:
        """Call `begin_epoch` of the model."""
        self.model.begin_epoch()

    def forward(self, lesson: Lesson[ClipBatch]) -> torch.Tensor:
        model = self.model
        model.limit_scale()
        frames, there, tokens, place, items = (x.to(model.teacher.logit_scale.device) for x in lesson.batch)
        written, seen = model.sentences(tokens), frames
        if not frames.is_floating_point():
            seen = model.frame_vectors(frames, there)
        with torch.autocast(items.device.type, enabled=False):
            texts = model.embed_texts(written)
            videos = {key: x[place] for key, x in model.embed_videos(seen, there).items()}
            own = dict(model.teacher.named_parameters())
            if torch.distributed.is_initialized():
                texts, videos = ({key: gathered(x) for key, x in arrays.items()} for arrays in (texts, videos))
                items = gathered(items)
                # Each process computes the whole loss and gradients are summed, so one process's gradient suffices for
                # shared parameters; the layers below learn from the rows of their own process.
                if torch.distributed.get_rank():
                    own = {key: parameter.detach() for key, parameter in own.items()}
            scores = functional_call(model.teacher, own, (texts, videos))
            others = items[:, None] == items[None, :]
            others = others & ~torch.eye(len(items), dtype=torch.bool, device=items.device)
            return matching_loss(scores.masked_fill(others, NEVER))
