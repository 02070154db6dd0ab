"""README and docs name what is there: public names, commands, options, scripts; none is missing."""

import re
from inspect import Parameter, signature
from pathlib import Path

import pytest
import typer

import kdanalysis as kd
from kdanalysis import losses
from kdanalysis.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS = typer.main.get_command(app).commands
OPTIONS = {
    option
    for command in (typer.main.get_command(app), *COMMANDS.values())
    for parameter in command.params
    for option in (*parameter.opts, *parameter.secondary_opts)
} | {"--help"}
SCRIPTS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py"))
SHOWN = r"quantity +any T +T = 1"  # what a command printed, which test_examples.py holds


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return re.findall(r"^```(\S*)\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize("name", TEXTS)
def test_public_names_are_there(name):
    found = set(re.findall(r"(?<![\w/.-])kd\.([A-Za-z_]\w*)", TEXTS[name]))
    assert sorted(found - {*dir(kd)}) == []


@pytest.mark.parametrize("name", TEXTS)
def test_commands_options_and_scripts_are_there(name):
    text = TEXTS[name]
    assert {*re.findall(r"`kdanalysis ([a-z]+)", text)} <= {*COMMANDS}
    scripts = re.findall(r"scripts/[\w/]+\.(?:py|sh)", text)
    assert [script for script in scripts if not (ROOT / script).exists()] == []
    ours = re.sub(r"^torchrun .*? -m", "", text.replace("\\\n", " "), flags=re.M)
    inline = set(re.findall(r"(?<!-)--[a-z][a-z-]+", ours))
    assert sorted(o for o in inline - OPTIONS if f'"{o}"' not in SCRIPTS) == []


@pytest.mark.parametrize("name", TEXTS)
def test_a_block_is_python_or_commands_or_shown_output(name):
    for language, text in blocks(TEXTS[name]):
        assert language in ("", "python")
        if language == "python" or re.match(SHOWN, text):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            assert re.match(r"kdanalysis |torchrun .* -m kdanalysis |bash scripts/|kd\.open", line)


def test_every_command_is_on_the_page_of_commands():
    listed = re.findall(r"^\| `([a-z]+)` \|", TEXTS["commands.md"], re.M)
    assert sorted(listed) == sorted(COMMANDS)


def test_every_loss_is_on_a_page_of_losses():
    kinds = {n for n, kind in vars(losses).items() if isinstance(kind, type)} & {*dir(kd)}
    found = {n for n in kinds if issubclass(getattr(kd, n), kd.Loss)} - {"Loss"}
    words = set(re.findall(r"\w+", TEXTS["losses.md"] + TEXTS["vocabulary.md"]))
    assert len(found) > 15
    assert sorted(found - words) == []


def test_arguments_of_losses_are_those_of_their_constructors():
    rows = re.findall(r"^\| `(\w+)\(([a-z][^()`]*)\)`", TEXTS["losses.md"], re.M)
    assert len(rows) > 10
    for name, given in rows:
        parameters = signature(getattr(kd, name)).parameters
        if all(one.kind != Parameter.VAR_POSITIONAL for one in parameters.values()):
            named = {part.partition("=")[0] for part in given.split(", ")} - {"..."}
            assert named <= {*parameters}, name
