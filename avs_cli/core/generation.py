"""Text from a local language model: one answer per prompt, which its batch does not change, up to rounding."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

# Of an answer, per line that is wanted; a wording has about 15.
TOKENS_PER_LINE = 64


class LanguageModel:
    """A causal language model of transformers, as a `TextGenerator`.

    network, tokenizer  as transformers loads them; prompts are written in the tokenizer's chat template if it has one
    provenance          what identifies the weights; the temperature and the seed are added if they have an effect
    lines               the most lines that an answer needs; an unfinished last line is left out
    batch_size          prompts per forward pass
    temperature         0: always the likeliest token; above 0: tokens at random, by a generator per prompt, so that an
                        answer depends on the prompt and the seed alone
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        provenance: Mapping[str, str | int | float],
        lines: int = 5,
        batch_size: int = 8,
        temperature: float = 0.0,
        seed: int = 0,
    ):
        self.network, self.tokenizer = network, tokenizer
        self.provenance = {**provenance, **({"temperature": temperature, "seed": seed} if temperature else {})}
        self.tokens, self.batch_size = TOKENS_PER_LINE * lines, batch_size
        self.temperature, self.seed = temperature, seed
        tokenizer.padding_side = "left"  # answers begin where prompts end
        ends = network.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        self.ends = set(ends) if isinstance(ends, list) else {ends} - {None}
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)

    def answers(self, prompts: Sequence[str]) -> list[str]:
        """The answer to each prompt."""
        found: list[str] = []
        for low in range(0, len(prompts), self.batch_size):
            found += self._batch(prompts[low : low + self.batch_size])
        return found

    @torch.inference_mode()
    def _batch(self, prompts: Sequence[str]) -> list[str]:
        from transformers import GenerationConfig

        chat = bool(self.tokenizer.chat_template)
        texts = [self._chat(prompt) for prompt in prompts] if chat else list(prompts)
        # A chat template writes the special tokens itself.
        tokens = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=not chat)
        tokens = {name: tokens[name].to(self.network.device) for name in ("input_ids", "attention_mask")}
        # Of the model's own settings, which may sample or penalise, only the ends are kept.
        self.network.generation_config = GenerationConfig(
            max_new_tokens=self.tokens,
            do_sample=False,
            eos_token_id=sorted(self.ends) or None,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        draws = [_Draws([self._seed(text) for text in texts], self.temperature)] if self.temperature else []
        rows = self.network.generate(**tokens, logits_processor=draws)[:, tokens["input_ids"].shape[1] :]
        return [self._text(row) for row in rows.tolist()]

    def _chat(self, prompt: str) -> str:
        """The prompt as a user's message; models that can think before they answer do not."""
        message = [{"role": "user", "content": prompt}]
        return str(
            self.tokenizer.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        )

    def _text(self, row: Sequence[int]) -> str:
        end = next((place for place, token in enumerate(row) if token in self.ends), None)
        text = str(self.tokenizer.decode(row[:end], skip_special_tokens=True))
        return text if end is not None else text.rpartition("\n")[0]

    def _seed(self, text: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed} {text}".encode()).digest()[:8], "big") >> 1


class _Draws:
    """Adds Gumbel noise to logits, so that the largest is a sample of their softmax; a generator for each row."""

    def __init__(self, seeds: Sequence[int], temperature: float):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = [torch.empty(scores.shape[1]).exponential_(generator=one).log() for one in self.generators]
        return scores.float() / self.temperature - torch.stack(noise).to(scores.device)
