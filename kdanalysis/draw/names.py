"""Names of classes as figures and sentences write them."""

import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

SYNSET = re.compile(r"[a-z]\d{8} (?=\S)")


def short(name: object, length: int = 16) -> str:
    """A class name on one line; a longer one loses its middle, as names often differ at the end."""
    line = " ".join(str(name).split())
    tail = length // 3
    return line if len(line) <= length else f"{line[: length - tail - 1]}…{line[-tail:]}"


def said(name: object, length: int = 24) -> str:
    """A class name in a sentence, where a number alone would be read as one of samples."""
    line = short(name, length)
    return f"class {line}" if line.isdecimal() else line


def class_names(count: int, names: Sequence[str] | None) -> list[str]:
    """Names of all classes, their numbers where none are given.

    WordNet ids before the names (n02268443 dragonfly) are left away where every name has one; two
    classes of one name (the cranes of ImageNet) keep them.

    Raises:
        ValueError: names too many or too few.
    """
    if names is None:
        return [str(i) for i in range(count)]
    if len(names) < count:
        raise ValueError(f"got {len(names)} class names for {count} classes, need one each")
    names = [str(name) for name in names]
    if not all(SYNSET.match(name) for name in names):
        return names
    bare = [SYNSET.sub("", name) for name in names]
    uses = Counter(bare)
    return [plain if uses[plain] == 1 else name for plain, name in zip(bare, names, strict=True)]


def names_in(table: pd.DataFrame, names: Sequence[str] | None, column: str = "class") -> list[str]:
    """Names of all classes up to the last of a column, as :func:`class_names` gives them."""
    return class_names(int(table[column].max()) + 1, names)
