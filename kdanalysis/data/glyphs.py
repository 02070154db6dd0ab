"""Letters and digits drawn on demand: a task with classes that look alike, without a download."""

import string
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from kdanalysis.data.splits import DataSplits, make_splits

CLASSES = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
TRAIN, VALID = 0, 1  # streams that share no image
DEFAULT_TRAIN = 200 * len(CLASSES)

_STYLES = {
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
}
FONTS = tuple(f"{family}{style}.ttf" for family, styles in _STYLES.items() for style in styles)


def load_glyphs(
    image_size: int | None = None, seed: int = 0, limit: int | None = None
) -> DataSplits:
    """Draw 12 400 training and 3100 validation images, or ``limit`` and a quarter of it.

    62 classes (0-9, A-Z, a-z) in equal number, 32x32 pixels unless ``image_size`` says otherwise.

    Raises:
        ValueError: the limit is below 1.
        FileNotFoundError: matplotlib's fonts are not where it says they are.
    """
    count = DEFAULT_TRAIN if limit is None else limit
    if count < 1:
        raise ValueError(f"the limit of training images must be at least 1, got {limit}")
    size = image_size or 32
    train, valid = (
        (torch.from_numpy(draw_glyphs(number, seed, stream, size)), np.arange(number) % 62)
        for number, stream in ((count, TRAIN), (max(1, count // 4), VALID))
    )
    return make_splits("glyphs", list(CLASSES), train, valid, mirror=False)


def draw_glyphs(count: int, seed: int, stream: int, size: int) -> UInt8[np.ndarray, "n 3 h w"]:
    """Draw the first ``count`` images of a stream; image i shows class i mod 62."""
    out = np.empty((count, 3, size, size), dtype=np.uint8)
    for index in range(count):
        out[index] = draw_glyph(index, seed, stream, size)
    return out


def draw_glyph(index: int, seed: int, stream: int, size: int) -> UInt8[np.ndarray, "3 h w"]:
    """Draw image ``index``, a function of the arguments alone.

    The height of the letters varies by a factor of two, more than that from a capital to its small
    letter, and each is centred on its own outline: O, o and 0, or S and s, differ in nothing
    that can be relied on, while l, I and 1 differ in some fonts only.
    """
    random = np.random.default_rng((seed, stream, index))
    font = FONTS[random.choice(len(FONTS))]
    em = round(size * random.uniform(0.5, 1.0))
    angle = np.deg2rad(random.uniform(-15, 15))
    down, across = size / 2 + size * random.uniform(-0.1, 0.1, size=2)
    cover = outline(CLASSES[index % len(CLASSES)], font, em, size, angle, (down, across))
    ink, paper = _colours(random)
    picture = paper + cover * (ink - paper)
    picture += random.normal(scale=random.uniform(0, 24), size=picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def outline(
    text: str, font: str, em: int, size: int, angle: float, centre: tuple[float, float]
) -> Float[np.ndarray, "h w"]:
    """Share of each pixel that a letter covers, turned clockwise by ``angle`` radians.

    ``centre`` (down, across) is where the middle of its upright outline comes to lie, in pixels.
    """
    canvas = Image.new("L", (2 * size, 2 * size))  # room for the widest letter
    face = _face(font, em)
    left, top, right, bottom = face.getbbox(text)
    corner = (size - (left + right) / 2, size - (top + bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, text, fill=255, font=face)
    (down, across), cos, sin = centre, np.cos(angle), np.sin(angle)
    # pillow wants the map from a pixel of the result to its source
    to_source = (cos, sin, size - cos * across - sin * down)
    to_source += (-sin, cos, size + sin * across - cos * down)
    turned = canvas.transform(
        (size, size), Image.Transform.AFFINE, to_source, Image.Resampling.BILINEAR
    )
    return np.asarray(turned) / 255


def _colours(
    random: np.random.Generator,
) -> tuple[Float[np.ndarray, "3 1 1"], Float[np.ndarray, "3 1 1"]]:
    """Ink and paper on the scale 0 to 255: 60 to 200 apart in grey, a tint on each channel."""
    contrast = random.uniform(60, 200)
    dark = random.uniform(0, 255 - contrast)
    greys = np.array([dark, dark + contrast])[random.permutation(2), None]
    ink, paper = greys + random.uniform(-25, 25, size=(2, 3))
    return ink[:, None, None], paper[:, None, None]


@cache
def _face(font: str, em: int) -> ImageFont.FreeTypeFont:
    path = _folder() / font
    if not path.is_file():
        raise FileNotFoundError(f"the font {font} of matplotlib is missing from {path.parent}")
    # the basic layout engine is always there; the other one depends on how pillow was built
    return ImageFont.truetype(path, em, layout_engine=ImageFont.Layout.BASIC)


@cache
def _folder() -> Path:
    import matplotlib as mpl  # without pyplot: nothing is drawn with it, it brings the fonts

    return Path(mpl.get_data_path()) / "fonts" / "ttf"
