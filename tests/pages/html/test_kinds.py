"""Every kind of page in a real browser: a phone and a wide window, light paper and dark."""

import browser
import numpy as np
import pytest
import torch

import kdanalysis as kd
from kdanalysis.data import load_data
from kdanalysis.networks.zoo import build_model

DRAWN = True  # the pictures are looked at

pytestmark = pytest.mark.skipif(browser.PATH is None, reason="needs Chromium")
ROWS, CLASSES, SMALLEST = 60, 7, 8.5  # the least size of a letter, CSS pixels
FAINTEST = 1.8  # of a line on its paper, as contrast; WCAG's formula
LOOK = """
(() => {
  const channel = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => channel(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.querySelector("section")).backgroundColor);
  const contrast = (colour) => {
    const [low, high] = [paper, light(colour)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const shapes = [...document.querySelectorAll(".picture path, .picture line, .picture use")];
  const lines = shapes.map((e) => getComputedStyle(e))
    .filter((look) => look.fill === "none" && look.stroke.startsWith("rgb")
      && !(look.strokeOpacity < 1)).map((look) => look.stroke);
  const letters = [...document.querySelectorAll("svg text")].filter((e) => e.checkVisibility());
  const size = (e) => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getScreenCTM().a;
  const stops = "a[href], button, input, summary, [tabindex]";
  const boxes = [...document.querySelectorAll(".scroll, .picture, nav ol, nav .picker")];
  return {
    beyond: document.documentElement.scrollWidth - document.body.clientWidth,
    faintest: Math.min(...lines.map(contrast)),
    lines: lines.length,
    letter: Math.min(...letters.map(size)),
    stops: [...document.querySelectorAll(stops)].filter((e) => e.tabIndex >= 0
      && e.checkVisibility()).length,
    silent: boxes.filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1
      && getComputedStyle(e).maskImage === "none").length,
    scrolled: boxes.filter((e) => e.classList.contains("beyond")).length,
  };
})()
"""


def sides(classes: int = CLASSES) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    teacher = 3 * rng.normal(size=(ROWS, classes)).astype(np.float32)
    student = (teacher + rng.normal(size=teacher.shape)).astype(np.float32)
    return {"teacher_logits": teacher, "student_logits": student, "target": teacher.argmax(1)}


def card(folder):
    return kd.diagnose(sides()).html()


def losses(folder):
    return kd.compare(sides(), losses={"kd": kd.KD(), "gdkd": kd.GDKD(k=3)}).html()


def sweep(folder):
    return kd.sweep_study(sides()).html()


def truncation(folder):
    given = sides(30)
    ks, temperatures = (1, 4, 16), (1, 2)
    both = given["student_logits"], given["teacher_logits"]
    return kd.truncation(*both, ks, temperatures).html()


def regions(folder):
    rng = np.random.default_rng(1)
    teacher, student = rng.normal(size=(2, ROWS, CLASSES, 5)).astype(np.float32)
    target = rng.integers(CLASSES, size=ROWS)
    names = ("teacher_regions", "student_regions", "target")
    given = dict(zip(names, (teacher, student, target), strict=True))
    return kd.regions(given, scales=(1, 2)).html()


def ladder(folder):
    torch.manual_seed(0)
    networks = [build_model("resnet8", 10) for _ in range(2)]
    return kd.ladder(*networks, load_data("digits", limit=64)).html()


def kept(folder):
    given = sides(30)
    loss = kd.Sum(kd.CrossEntropy(), kd.GDKD(k=3, temperature=2.0))
    with kd.Recorder(folder / "kept", loss, keep=kd.TopK(8)) as recorder:
        for rows in np.array_split(np.arange(ROWS), 3):
            student, teacher, target = (
                torch.from_numpy(given[name][rows])
                for name in ("student_logits", "teacher_logits", "target")
            )
            student.requires_grad_()
            recorder.loss(target, student=student, teacher=teacher).backward()
    kd.open(folder / "kept").report(folder / "kept.html")
    return (folder / "kept.html").read_text(encoding="utf-8")


# What watches sizes is told with the next frame.
DRAWN_TWICE = "new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))"
KINDS = (card, losses, sweep, truncation, regions, ladder, kept)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    started = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def file(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kind")
    path = folder / "page.html"
    path.write_text(request.param(folder), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_reader_sees_all_of_it(chromium, file, width, theme):
    feature = {"name": "prefers-color-scheme", "value": theme}
    chromium.send("Emulation.setEmulatedMedia", features=[feature])
    chromium.open(file, width)
    chromium.run(DRAWN_TWICE)
    seen = chromium.run(LOOK)
    assert chromium.errors == []
    assert seen["beyond"] <= 0
    assert seen["faintest"] >= FAINTEST
    assert seen["lines"] > 10
    assert seen["letter"] >= SMALLEST or width > 390
    assert seen["stops"] <= 60
    assert seen["silent"] == 0
    assert seen["scrolled"] > 0 or width > 390
