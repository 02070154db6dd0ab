"""A command takes options that belong together as one argument."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from kdanalysis.cli.groups import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(help="Across.")]
    height: Annotated[int, typer.Option("--height", "-h", help="Down.")] = 3


@pytest.fixture
def draw():
    app, given = typer.Typer(), []

    @app.command()
    @grouped
    def command(name: Annotated[str, typer.Argument()], *, size: Size, times: int = 1) -> None:
        given.append((name, size, times))

    def run(*words):
        found = CliRunner().invoke(app, words)
        return found.exit_code, given[-1] if given else None

    return run


def test_fields_of_a_group_are_options_of_the_command(draw):
    assert draw("a", "--width", "2", "-h", "5") == (0, ("a", Size(2, 5), 1))


def test_a_field_without_a_value_has_its_default_and_one_without_default_is_needed(draw):
    assert draw("a", "--width", "2", "--times", "4") == (0, ("a", Size(2, 3), 4))
    assert draw("a")[0] == 2
