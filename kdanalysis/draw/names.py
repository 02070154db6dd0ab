"""Names of classes as figures and sentences write them."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import zip_longest

import pandas as pd

SYNSET = re.compile(r"[a-z]\d{8} (?=\S)")


def short(name: object, length: int = 16, among: Iterable[object] = ()) -> str:
    """A name on one line; a longer one loses its middle, as names often differ at the end.

    Long names that it stands among are cut at the same places, where all of them look different.
    """
    line = _line(name)
    lines = {line} | {_line(other) for other in among}
    lines = {one for one in lines if len(one) > length}
    if line not in lines:
        return line
    cuts = (cut for cut in _cuts(lines, length) if len(set(map(cut, lines))) == len(lines))
    return next(cuts, str)(line)


def _line(name: object) -> str:
    return " ".join(str(name).split())


def _cuts(lines: Collection[str], length: int) -> Iterator[Callable[[str], str]]:
    """Yield what cuts names to a length: without their middle, then from where they differ."""
    third = length // 3
    for tail in sorted(range(1, length - 1), key=lambda tail: abs(tail - third)):
        yield lambda line, tail=tail: f"{line[: length - tail - 1]}…{line[-tail:]}"
    letters = enumerate(zip_longest(*lines))
    begin = next(place for place, of in letters if len(set(of)) > 1)
    room = length - 2
    for start in range(max(1, begin - room // 2), max(map(len, lines))):
        end = start + room
        yield lambda line, a=start, b=end: f"…{line[a:b]}{'…' * (b < len(line))}"


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
