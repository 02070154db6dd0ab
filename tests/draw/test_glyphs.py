"""Letters that no font has: told in one sentence for all figures, which are drawn as ever."""

import warnings
from functools import partial

import pytest

from kdanalysis.draw.drawn import Drawn
from kdanalysis.draw.glyphs import noted, tell_lacking
from kdanalysis.draw.look import new_axes, styled

DRAWN = True  # the pictures are looked at
NAMES = ["猫", "plain", "犬 dog", "🐸", "鳥"]
SENTENCE = "DejaVu Sans lacks letters of 猫, 犬 dog, 🐸 and 1 more: PNG and PDF show boxes"


def drawing(names=NAMES):
    ax = new_axes()
    ax.barh(names, range(len(names)))
    return ax.figure


def told(drawings) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tell_lacking([(drawn.figure, drawn.lacking) for drawn in drawings])
    return [str(one.message) for one in caught]


def test_two_figures_in_every_kind_give_one_sentence():
    drawings = [Drawn(drawing), Drawn(drawing)]
    for drawn in drawings:
        assert "猫" in drawn.as_bytes("svg").decode()
        for kind in ("png", "pdf"):
            assert drawn.as_bytes(kind)
    (sentence,) = told(drawings)
    assert sentence.startswith(SENTENCE)
    assert "rcParams['font.family'] = ['DejaVu Sans', 'Noto Sans CJK JP']" in sentence
    assert len(sentence) <= 400
    assert told(drawings) == []  # once is enough


def test_letters_that_are_there_are_not_told():
    drawn = Drawn(partial(drawing, ["Ωλ é", "plain"]))
    drawn.as_bytes("png")
    assert told([drawn]) == []


def test_a_notebook_tells_it_of_every_figure_it_shows():
    figure = drawing()
    with pytest.warns(RuntimeWarning, match=SENTENCE) as caught:
        assert figure._repr_png_()
    assert len(caught) == 1


def test_measures_inside_a_drawing_function_say_nothing():
    @styled
    def draw():
        figure = drawing()
        assert figure.get_tightbbox().width > 0
        return figure

    assert Drawn(draw).box.width > 0


def test_other_warnings_pass():
    with pytest.warns(UserWarning, match="of another kind"), noted({}):
        warnings.warn("of another kind", UserWarning, stacklevel=1)


def test_letters_that_another_process_lacked_are_told_here_once():
    drawn, other = Drawn(drawing), Drawn(drawing)
    other.as_bytes("svg")
    drawn.take(other.files, other.lacking)
    (sentence,) = told([drawn])
    assert sentence.startswith(SENTENCE)
    assert drawn.as_bytes("png")
    assert told([drawn]) == []
