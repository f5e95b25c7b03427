"""Vocabularies of published heads: one word per line, in the order of the weights."""

from avs_cli.errors import FormatError
from avs_cli.io.pipe import read_text


def read_vocabulary(path: str) -> list[str]:
    """The first word of each line; other columns, such as counts, are ignored.

    Raises FormatError for a file without words and for a duplicate word.
    """
    words: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        word = line.split()[0]
        if word in words:
            raise FormatError(path, f"duplicate word {word!r}", number)
        words[word] = number
    if not words:
        raise FormatError(path, "contains no words")
    return list(words)
