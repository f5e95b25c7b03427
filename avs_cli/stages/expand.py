"""Query expansion: other wordings of topics by a local language model, in a file that searches read as topics.

    topics = expand("tv22.txt", "tv22.variants.jsonl", model="Qwen/Qwen2.5-3B-Instruct", count=5)
    run = search("gallery.h5", topics="tv22.variants.jsonl")

The file says what made each wording. It may be edited: topics that it has are kept as they are.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from avs_cli.core.device import prepare
from avs_cli.core.expansion import PROMPT, TextGenerator, check_prompt, prompt_of, variants_in
from avs_cli.core.generation import LanguageModel
from avs_cli.errors import SpecError, UnavailableError, few
from avs_cli.io.cache import remembered
from avs_cli.io.hub import command, snapshot
from avs_cli.io.pipe import read_text
from avs_cli.io.text.variants import line_of, made_by, read_lines, topics_of, write_lines
from avs_cli.io.weights import given
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath
from avs_cli.stages.topic_texts import Topics, is_image, read, wordings_of
from avs_cli.types import Source, Topic, Variant

# What a language model's repository holds beside its configuration and its weights: tokenizers and chat templates.
FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")


def expand(
    topics: Topics,
    output: FilePath = "",
    *,
    model: FilePath | TextGenerator,
    count: int = 5,
    prompt: FilePath = "",
    weight: float = 0.5,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 8,
    overwrite: bool = False,
    device: str = "auto",
    threads: int = 0,
    report: Reporter = LOGGED,
) -> list[Topic]:
    """The topics, each with its own wordings and up to `count` by the language model.

    topics       a topics file, topics, or the text of each by its id
    output       JSON lines, one per wording, written after each batch. Topics that the file has are kept as they are;
                 "" writes nothing, and "-" is stdout
    model        a folder of transformers or a repository of the Hugging Face hub; or a language model
    prompt       a file with the prompt, in which {query}, {count} and {narrative} are replaced; "" for `PROMPT`
    weight       of each variant; the wordings of the topics have theirs, the text of a topic 1
    temperature  of sampling, by `seed`; 0: the likeliest words
    batch_size   prompts per forward pass; answers do not depend on it, up to rounding
    overwrite    expand the topics that `output` has again
    Notes how many topics there are and, after the first batch, how long the others will take; kept topics whose text
    has changed; and topics with fewer variants than `count`. Raises SpecError for a prompt without {query},
    UnavailableError for a model that is not on this machine and cannot be downloaded, FormatError for an output that is
    not JSON lines.
    """
    template = read_text(prompt) if prompt else PROMPT
    check_prompt(template)
    if not weight:
        raise SpecError("a wording of weight 0 has no effect; give another --weight")
    wanted, file = read(topics), "" if str(output) == "-" else str(output)
    lines = read_lines(file) if file else {}
    if overwrite:
        lines = {id: own for id, own in lines.items() if id not in {topic.id for topic in wanted}}
    missing = [topic for topic in wanted if topic.id not in lines]
    wordings = {topic.id: [Variant(*wording) for wording in wordings_of(topic)] for topic in missing}
    prompts = {topic.id: prompt_of(template, topic, count) for topic in missing if not is_image(topic.query)}
    _note_kept([topic for topic in wanted if topic.id in lines], lines, report)
    if pictures := [topic.id for topic in missing if topic.id not in prompts]:
        report.note(f"example images have no variants: {few(pictures)}")
    if narrated := [topic.id for topic in missing if topic.narrative]:
        report.note(f"narratives are left out, since wordings have none: {few(narrated)}")
    if prompts:
        asked = len(prompts)
        report.note(f"{asked} topic{'s' * (asked > 1)} to expand, {min(asked, batch_size)} at a time")
        loaded = (
            language_model(model, count, batch_size, temperature, seed, device, threads)
            if isinstance(model, str | Path)
            else model
        )
        by = {**loaded.provenance, "prompt": hashlib.sha256(template.encode()).hexdigest()[:12], "count": count}
        if any(one != by for one in made_by(line for own in lines.values() for line in own)):
            report.note(f"{file}: kept variants are by another model or prompt; --overwrite replaces them")
    begun = time.perf_counter()
    with report.progress("topics", len(missing)) as advance:
        for low in range(0, len(missing), batch_size):
            batch = missing[low : low + batch_size]
            ids = [topic.id for topic in batch if topic.id in prompts]
            answers = dict(zip(ids, loaded.answers([prompts[id] for id in ids]), strict=True)) if ids else {}
            for topic in batch:
                own = wordings[topic.id]
                texts = variants_in(answers.get(topic.id, ""), (one.text for one in own), count)
                lines[topic.id] = [line_of(topic.id, one) for one in own]
                lines[topic.id] += [line_of(topic.id, Variant(weight, text), by) for text in texts]
                if topic.id in answers and len(texts) < count:
                    report.note(f"topic {topic.id}: {len(texts)} of {count} variants in the model's answer")
            if file:
                write_lines(file, lines)
            if not low and (rest := len(missing) - len(batch)):
                left = (time.perf_counter() - begun) / len(batch) * rest
                report.note(f"{rest} left, about {f'{left / 60:.0f} minutes' if left > 90 else f'{left:.0f} seconds'}")
            advance(len(batch))
    if str(output) == "-":
        write_lines("-", lines)
    found = {topic.id: topic for topic in topics_of(lines)}
    return [found[topic.id] for topic in wanted]


def language_model(
    model: FilePath,
    lines: int = 5,
    batch_size: int = 8,
    temperature: float = 0.0,
    seed: int = 0,
    device: str = "auto",
    threads: int = 0,
) -> LanguageModel:
    """A language model of a folder of transformers, or of a repository of the hub, which is downloaded if needed.

    Raises UnavailableError for a repository that is not on this machine, with the command that downloads it.
    """
    machine = prepare(device, threads)
    folder, name = Path(model), str(model)
    if not folder.exists():
        if "/" not in name:
            raise UnavailableError(f"{name}: no such folder, and not a repository of the hub such as OWNER/NAME")
        source = Source(0, name, FILES)
        place = snapshot(source)
        if place is None:
            raise UnavailableError(f"{name} is not on this machine; give --model FOLDER, or run: {command(source)}")
        folder = place
    files = given(folder)
    provenance = {"model": name if folder != Path(model) else folder.resolve().name}
    provenance["weights"] = files.digest(remembered)[:12]
    network, tokenizer = files.language_model(machine.device), files.tokenizer()
    return LanguageModel(network, tokenizer, provenance, lines, batch_size, temperature, seed)


def _note_kept(kept: Sequence[Topic], lines: Mapping[str, Sequence[str]], report: Reporter) -> None:
    """Note how many topics are kept, and those whose text is not among their kept wordings."""
    if not kept:
        return
    report.note(f"{len(kept)} topic{'s' * (len(kept) > 1)} kept: expanded before")
    wordings = {topic.id: {text for _, text in wordings_of(topic)} for topic in topics_of(lines)}
    if changed := [topic.id for topic in kept if topic.query not in wordings[topic.id]]:
        report.note(f"kept topics whose text has changed: {few(changed)}; --overwrite expands them again")
