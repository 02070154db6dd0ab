"""Source text as documents and tokens, and what class of token each one is."""

import io
import sysconfig
import token as kinds
import tokenize
from itertools import accumulate
from keyword import iskeyword
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|end|>"  # stands before every document
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
LONGEST = 200_000  # characters of a document: a few tables would be most of the text
CLASSES = ("identifier", "operator", "whitespace", "string or comment", "keyword", "number")
OPERATOR, WHITESPACE = CLASSES.index("operator"), CLASSES.index("whitespace")


class Document(NamedTuple):
    """A file's name, its text, and which part it belongs to."""

    name: str
    text: str
    held_out: bool


def documents(every: int = 9) -> list[Document]:
    """Return the modules of Python's standard library, every ninth of them held out of training.

    Held out are only those that Python itself can split into tokens.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [
        path
        for path in sorted(root.rglob("*.py"))
        if not LEFT_OUT & set(path.relative_to(root).parts)
    ]
    found = []
    for place, path in enumerate(paths):
        text = path.read_text(encoding="utf-8", errors="replace")
        if 200 < len(text) < LONGEST:
            held_out = place % every == 0 and text.isascii() and splits(text)
            found.append(Document(str(path.relative_to(root)), text, held_out))
    return found


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """Return a byte-level BPE of so many tokens; a run of blanks is one piece, words have none."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        raise ValueError(
            f"the text gives {tokenizer.get_vocab_size()} tokens, not the {vocabulary} asked for"
        )
    return tokenizer


def splits(text: str) -> bool:
    """Whether Python's own tokenizer reads the text to its end."""
    try:
        list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return False
    return True


def classes_of_characters(text: str) -> np.ndarray:
    """Return the class of every character, by Python's own tokenizer; between tokens is blank."""
    found = np.full(len(text), WHITESPACE)
    starts = [0, *accumulate(len(line) for line in text.splitlines(keepends=True))]
    for one in tokenize.generate_tokens(io.StringIO(text).readline):
        if one.type in (kinds.STRING, kinds.COMMENT):
            name = "string or comment"
        elif one.type == kinds.NUMBER:
            name = "number"
        elif one.type == kinds.NAME:
            name = "keyword" if iskeyword(one.string) else "identifier"
        elif one.type == kinds.OP:
            name = "operator"
        else:
            continue
        (row, column), (last_row, last_column) = one.start, one.end
        begin, end = starts[row - 1] + column, starts[last_row - 1] + last_column
        found[begin:end] = CLASSES.index(name)
    return found


def classes_of_tokens(text: str, offsets: list[tuple[int, int]]) -> np.ndarray:
    """Return the class of every token: that of its first character that is no blank.

    Blanks alone are whitespace, unless they stand inside a string or a comment.
    """
    of_characters = classes_of_characters(text)
    found = []
    for begin, end in offsets:
        dark = next((i for i in range(begin, end) if not text[i].isspace()), begin)
        found.append(of_characters[dark])
    return np.array(found, dtype=np.int64)


class Rows(NamedTuple):
    """Windows of held-out documents, one a document; the last token is only predicted."""

    tokens: np.ndarray  # (documents, length + 1)
    classes: np.ndarray  # of the predicted token (documents, length)
    names: list[str]


def held_out_rows(
    tokenizer: Tokenizer, held_out: list[Document], length: int, most: int, seed: int
) -> Rows:
    """Return a window of every held-out document that is long enough, from a random place on."""
    draw = np.random.default_rng(seed)
    tokens, classes, names = [], [], []
    for name, text, _ in held_out:
        encoded = tokenizer.encode(text)
        if len(encoded.ids) > length and len(names) < most:
            start = draw.integers(len(encoded.ids) - length)
            part = slice(start, start + length + 1)
            tokens.append(encoded.ids[part])
            classes.append(classes_of_tokens(text, encoded.offsets[part])[1:])
            names.append(name)
    return Rows(np.array(tokens), np.array(classes), names)
