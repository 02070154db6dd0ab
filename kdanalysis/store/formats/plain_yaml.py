"""The part of YAML that settings are written in: names with values, and lists of them."""

import json
import re
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_LONGEST = 1 << 16  # bytes

Line = tuple[int, str]  # how far it is indented, and what it says


def read_settings(path: Path) -> dict[str, Any]:
    """Read ``name: value`` lines; a value is a word, a number, a list, or lines below it.

    Raises:
        ValueError: the file is longer than settings are, or holds other YAML than that.
    """
    if path.stat().st_size > _LONGEST:
        raise ValueError(f"{path} is longer than {_LONGEST:,} bytes: need a file of settings")
    text = path.read_text(encoding="utf-8")
    lines = [
        (len(line) - len(line.lstrip()), line.strip())
        for line in text.splitlines()
        if line.strip() and not line.strip().startswith(("#", "---"))
    ]
    try:
        found, rest = _block(lines, 0)
    except (IndexError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: need lines of the form name: value") from error
    if rest or not isinstance(found, dict):
        raise ValueError(f"{path} cannot be read from {rest[0][1] if rest else text!r:.60} on")
    return found


def _block(lines: list[Line], indent: int) -> tuple[Any, list[Line]]:
    """Read the lines that are indented alike, and return the rest."""
    if lines[0][1].startswith("- "):
        return _items(lines, indent)
    found: dict[str, Any] = {}
    while lines and lines[0][0] == indent:
        name, colon, value = lines[0][1].partition(":")
        if not colon or name in found or (value and value[0] != " "):
            raise ValueError
        lines = lines[1:]
        below = lines and (lines[0][0] > indent or _is_item(lines[0], indent))
        if not value.strip() and below:
            found[name], lines = _block(lines, lines[0][0])
        else:
            found[name] = _value(value.strip())
    return found, lines


def _is_item(line: Line, indent: int) -> bool:
    return line[0] == indent and line[1].startswith("- ")


def _items(lines: list[Line], indent: int) -> tuple[list[Any], list[Line]]:
    found = []
    while lines and _is_item(lines[0], indent):
        inner = lines[0][1][2:].lstrip()
        deeper = indent + len(lines[0][1]) - len(inner)
        if re.match(r"\w+:(?: |$)", inner):
            one, lines = _block([(deeper, inner), *lines[1:]], deeper)
        else:
            one, lines = _value(inner), lines[1:]
        found.append(one)
    return found, lines


def _value(text: str) -> Any:
    text = text.split(" #")[0].strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text[0] == "[" and text[-1] == "]":
        return [_value(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    if text[0] in "\"'":
        return json.loads(f'"{text[1:-1]}"')
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    if not re.fullmatch(r"[\w./-]+", text):
        raise ValueError
    return text
