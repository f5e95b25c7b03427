"""Vocabularies that published tools keep beside their heads: a word per line, in the order of the head's numbers."""

from avs_cli.errors import FormatError
from avs_cli.io.pipe import read_text


def read_vocabulary(path: str) -> list[str]:
    """The first words of the lines; what follows, as a word's count, does not matter.

    Raises FormatError for a file without words and for a word that comes twice.
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
