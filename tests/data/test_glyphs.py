"""Glyphs: a function of (seed, stream, index) alone, legible, and truly confusable."""

import numpy as np
import pytest
import torch

from kdanalysis.data import glyphs
from kdanalysis.data.glyphs import CLASSES, FONTS, TRAIN, VALID, draw_glyph, draw_glyphs, outline


def test_an_image_depends_on_its_arguments_alone():
    several = draw_glyphs(20, seed=3, stream=TRAIN, size=20)
    np.random.seed(0)  # noqa: NPY002, the global state must not matter
    torch.manual_seed(0)
    for index in (19, 4, 0):
        assert (draw_glyph(index, 3, TRAIN, 20) == several[index]).all()


def test_streams_and_seeds_share_no_image():
    sets = [draw_glyphs(62, *key, 16) for key in ((0, TRAIN), (0, VALID), (1, TRAIN))]
    assert len({image.tobytes() for part in sets for image in part}) == 3 * 62


@pytest.mark.parametrize("size", [16, 20, 24, 32])
def test_sizes_are_drawn_as_asked(size):
    image = draw_glyph(0, 0, TRAIN, size)
    assert image.shape == (3, size, size)
    assert image.dtype == np.uint8


def test_classes_are_balanced_and_named_in_order():
    splits = glyphs.load_glyphs(16, limit=124)
    assert "".join(splits.classes) == (
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    )
    assert np.bincount(splits.train.labels).tolist() == [2] * 62
    assert len(splits.valid) == 31
    assert not splits.train.mirror


def test_sets_have_the_documented_sizes(monkeypatch):
    monkeypatch.setattr(glyphs, "DEFAULT_TRAIN", 124)
    splits = glyphs.load_glyphs()
    assert (len(splits.train), len(splits.valid)) == (124, 31)
    assert splits.train.image_shape == (3, 32, 32)


def test_every_font_has_every_letter():
    for font in FONTS:
        face = glyphs._face(font, 32)
        missing = bytes(face.getmask("\ufffe"))  # no character: the font's box for what it lacks
        shapes = {bytes(face.getmask(letter)) for letter in CLASSES}
        assert missing not in shapes
        assert len(shapes) >= 61  # some fonts may draw two letters alike


def test_the_letter_stands_out_from_the_paper():
    images = draw_glyphs(310, 0, TRAIN, 32).astype(float).mean(1)
    contrast = np.percentile(images, 99, (1, 2)) - np.percentile(images, 1, (1, 2))
    assert contrast.min() > 25


def heights(letter: str, ems: np.ndarray) -> np.ndarray:
    """Heights in pixels of upright letters, one an em, over all fonts in turn."""
    found = []
    for i, em in enumerate(ems):
        cover = outline(letter, FONTS[i % len(FONTS)], round(em), 32, 0.0, (16.0, 16.0))
        rows = np.flatnonzero((cover > 0.3).any(1))
        found.append(rows[-1] - rows[0] + 1)
    return np.array(found)


def best_guess(low: np.ndarray, high: np.ndarray) -> float:
    """Accuracy of the best threshold between two sets of heights."""
    threshold = np.arange(40)[:, None]
    return (((low < threshold).mean(1) + (high >= threshold).mean(1)) / 2).max()


@pytest.mark.parametrize(("small", "capital"), ["oO", "sS", "xX", "vV"])
def test_height_does_not_tell_small_letters_from_capitals(small, capital):
    ems = np.random.default_rng(0).uniform(16, 32, (2, 320))
    assert best_guess(heights(small, ems[0]), heights(capital, ems[1])) < 0.85
    one_size = np.full(16, 24)  # the control: it is the jitter of the size that hides the case
    assert best_guess(heights(small, one_size), heights(capital, one_size)) > 0.95


def test_the_em_varies_by_a_factor_of_two(monkeypatch):
    ems = []
    monkeypatch.setattr(glyphs, "outline", lambda *args: ems.append(args[2]) or np.zeros((32, 32)))
    draw_glyphs(300, 0, TRAIN, 32)
    assert (min(ems), max(ems)) == (16, 32)


def test_the_largest_letters_are_whole():
    for font in FONTS:
        for letter in "WMQj":
            mask = np.array(glyphs._face(font, 32).getmask(letter))
            cover = outline(letter, font, 32, 32, 0.2, (16.0, 16.0))
            assert cover.sum() > 0.93 * mask.sum() / 255


def middle(cover: np.ndarray) -> tuple[float, float]:
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    return (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2


def test_an_upright_letter_is_what_pillow_draws():
    cover = outline("E", "DejaVuSans.ttf", 24, 32, 0.0, (16.0, 16.0))
    mask = glyphs._face("DejaVuSans.ttf", 24).getmask("E")
    assert cover.sum() == pytest.approx(np.array(mask).sum() / 255, rel=0.02)


def test_a_letter_is_centred_where_asked_and_turns_clockwise():
    for centre in ((16.0, 16.0), (13.0, 18.0), (20.0, 15.0)):
        cover = outline("O", "DejaVuSans.ttf", 20, 32, 0.0, centre)
        assert middle(cover) == pytest.approx(centre, abs=0.75)
    upright = outline("l", "DejaVuSans.ttf", 24, 32, 0.0, (16.0, 16.0))
    turned = outline("l", "DejaVuSans.ttf", 24, 32, np.pi / 2, (16.0, 16.0))
    assert abs(np.ptp(np.nonzero(turned)[1]) - np.ptp(np.nonzero(upright)[0])) <= 1
    assert abs(np.ptp(np.nonzero(turned)[0]) - np.ptp(np.nonzero(upright)[1])) <= 1
    tilted = outline("l", "DejaVuSans.ttf", 24, 32, 0.3, (16.0, 16.0))
    top, bottom = tilted[:16].sum(0).argmax(), tilted[16:].sum(0).argmax()
    assert top > bottom


def test_a_missing_font_is_named(monkeypatch, tmp_path):
    glyphs._face.cache_clear()
    monkeypatch.setattr(glyphs, "_folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the font DejaVu.*ttf of matplotlib is missing"):
        glyphs._face("DejaVuSans.ttf", 20)
