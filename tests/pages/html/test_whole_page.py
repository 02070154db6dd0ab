"""A page of three students as a reader meets it: sliders, picker, files, sizes and keys."""

import csv
import io
import json
import re
from urllib.parse import unquote
from xml.etree import ElementTree

import browser
import numpy as np
import pandas as pd
import pytest
from page_reader import draw

import kdanalysis as kd
from kdanalysis.draw.colours import loss_colours
from kdanalysis.pages.experiment import experiment_study
from kdanalysis.pages.html import Section, Shown
from kdanalysis.pages.html.page import build
from kdanalysis.pages.lead import Lead
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

DRAWN = True  # the pictures are looked at

pytestmark = pytest.mark.skipif(browser.PATH is None, reason="needs Chromium")
LOSSES = {
    "kd": "KD(temperature=2.0)",
    "dkd": "DKD(alpha=1.0, beta=8.0, temperature=2.0)",
    "gdkd": "GDKD(k=3, weights=(1.0, 1.0, 8.0), temperature=2.0, strategy='best', "
    "divergence='forward')",
}
CLASSES, SAMPLES = 8, 120


def sides(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    teacher = 3 * rng.normal(size=(SAMPLES, CLASSES)).astype(np.float32)
    student = (teacher + rng.normal(size=teacher.shape)).astype(np.float32)
    target = np.where(rng.random(SAMPLES) < 0.7, teacher.argmax(1), 3)
    return {"teacher_logits": teacher, "student_logits": student, "target": target}


def write_run(folder, loss: str, columns: dict[str, np.ndarray]):
    writer = PartWriter(folder, 0, RunInfo(CLASSES, None, loss, ("kd",), temperature=2.0))
    for step, rows in ((0, slice(0, 60)), (10, slice(60, 120))):
        place = {"step": np.full(60, step), "epoch": np.full(60, step // 10, np.int32)}
        part = {name: column[rows] for name, column in columns.items()}
        writer.write(place | {"sample_id": np.arange(60)} | part)
    writer.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study of an experiment of three students, without a training."""
    folder = tmp_path_factory.mktemp("experiment")
    logits = {name: sides(seed) for seed, name in enumerate(LOSSES)}
    for name, loss in LOSSES.items():
        write_run(folder / name, loss, logits[name])
        np.savez(folder / f"{name}.npz", **logits[name])
    shares = {"network": ["teacher", *LOSSES], "accuracy": [0.8, 0.7, 0.6, 0.65]}
    students = pd.DataFrame(shares | {"agreement": [1.0, 0.8, 0.7, 0.9]})
    card = kd.diagnose(folder / "kd.npz")
    runs = {name: folder / name for name in LOSSES}
    learned = {name: folder / f"{name}.npz" for name in LOSSES}
    made = experiment_study("What they teach", {"data": "none"}, students, card, runs, learned)
    made.logits = logits
    return made


@pytest.fixture(scope="module")
def page(study) -> str:
    return study.html()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    started = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def file(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture
def opened(chromium, file):
    chromium.open(file)
    return chromium


MOVE = """
((settings) => {
  for (const [name, value] of Object.entries(settings)) {
    const input = document.querySelector(`.explorer input[name="${name}"]`);
    input.value = value;
    input.dispatchEvent(new Event("input"));
  }
  const names = [...document.querySelectorAll(".numbers thead th")].slice(1);
  return {
    loss: document.querySelector(".explorer .loss code").textContent,
    shown: document.querySelector(".numbers tbody td").textContent,
    columns: JSON.parse(document.querySelector(".explorer script").textContent).columns,
    runs: [...document.querySelectorAll(".numbers tbody tr")].map((row) => ({
      name: row.dataset.run,
      values: [...row.querySelectorAll("td")].map((cell) => Number(cell.dataset.value)),
    })),
  };
})
"""
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)


def move(opened, k: int, temperature: float, **weights: float) -> dict:
    """Move the sliders; return the loss as text, and every student's numbers by name."""
    place = {"k": k - 1, "temperature": TEMPERATURES.index(temperature), **weights}
    found = opened.run(f"{MOVE}({json.dumps(place)})")
    named = {run["name"]: run["values"] for run in found["runs"]}
    runs = {name: dict(zip(found["columns"], row, strict=True)) for name, row in named.items()}
    return found | {"runs": runs}


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_sliders_give_the_numbers_of_the_sweep(opened, study, k, temperature):
    weights = {"high": 0.5, "low_top": 2.0, "low_other": 6.25}
    found = move(opened, k, temperature, **weights, ce=0)["runs"]
    assert list(found) == list(LOSSES)
    for name, numbers in found.items():
        both = (study.logits[name][f"{side}_logits"] for side in ("student", "teacher"))
        (row,) = kd.sweep(*both, (temperature,), (k,), tuple(weights.values())).itertuples()
        assert numbers["cosine"] == pytest.approx(row.cosine_batch_total_kd, abs=1e-6)
        assert numbers["step"] == pytest.approx(row.rms_total / row.rms_kd, rel=1e-6)
        assert numbers["norm"] == pytest.approx(row.rms_total, rel=1e-6)
        assert numbers["norm_kd"] == pytest.approx(row.rms_kd, rel=1e-6)
        for term in weights:
            expected = getattr(row, f"share_batch_{term}")
            assert numbers[f"share_{term}"] == pytest.approx(expected, abs=1e-6)
        assert numbers["share_ce"] == 0


def test_a_student_has_the_colour_of_its_loss(opened):
    seen = "[...document.querySelectorAll('{}')].map((part) => getComputedStyle(part).{})"
    parts = {".live circle": "fill", ".live path[data-run]": "stroke", ".mark": "backgroundColor"}
    hues = [tuple(bytes.fromhex(colour[1:])) for colour in loss_colours(LOSSES).values()]
    for part in parts.items():
        assert opened.run(seen.format(*part)) == [f"rgb{hue}" for hue in hues]


@pytest.mark.parametrize("ce", [0, 0.75])
def test_the_loss_as_text_is_read_by_kd_and_compares_to_the_same_numbers(opened, study, ce):
    found = move(opened, 5, 4.0, high=1, low_top=2.25, low_other=8, ce=ce)
    text = "gdkd:k=5,weights=1/2.25/8,temperature=4"
    assert found["loss"] == (f"ce:weight={ce}+{text}" if ce else text)
    losses = {"kd": kd.KD(4.0), "other": kd.parse_loss(found["loss"])}
    for name, numbers in found["runs"].items():
        table = kd.compare(study.logits[name], losses=losses).tables["direction"]
        (row,) = table[table.teacher == "all"].itertuples()
        assert numbers["cosine"] == pytest.approx(row.cosine_batch, abs=1e-6)
        assert numbers["step"] == pytest.approx(row.multiplier_batch, rel=1e-6)
        assert numbers["norm"] == pytest.approx(row.rms_b, rel=1e-6)
        assert (numbers["share_ce"] > 0.01) == (ce > 0)


def test_the_explorers_table_has_room_for_long_names(opened):
    found = opened.run("""(() => {
      for (const cell of document.querySelectorAll(".explorer .numbers tbody th"))
        cell.append(" weights 1/1/8");
      const box = document.querySelector(".explorer .scroll");
      return [box.scrollWidth - box.clientWidth, document.querySelector(".live svg").clientWidth];
    })()""")
    assert found[0] <= 0
    assert found[1] >= 260


def test_the_explorers_table_breaks_names_that_are_longer_than_a_line(opened):
    width = """(() => {
      for (const cell of document.querySelectorAll(".explorer .numbers tbody th"))
        cell.append("-resnet8x4-with-a-long-name-of-its-settings".repeat(3));
      return document.querySelector(".explorer .numbers th").clientWidth;
    })()"""
    assert opened.run(width) <= 340


def test_sliders_stand_out_from_the_dark_page(chromium, file):
    hues = []
    for theme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": theme}
        chromium.send("Emulation.setEmulatedMedia", features=[feature])
        chromium.open(file)
        hues.append(
            chromium.run("getComputedStyle(document.querySelector('[type=range]')).accentColor")
        )
    chromium.send("Emulation.setEmulatedMedia", features=[])
    assert hues == ["rgb(28, 93, 153)", "rgb(134, 189, 240)"]  # else a white track is put behind


def test_keys_move_a_slider_and_the_numbers_with_it(opened):
    before = move(opened, 3, 2.0)
    opened.run("document.querySelector('.explorer input[name=k]').focus()")
    opened.press("ArrowRight")
    after = opened.run(f"{MOVE}({{}})")
    assert "k=4" in after["loss"]
    assert after["runs"][0]["values"][0] != before["runs"]["kd"]["cosine"]
    assert after["shown"] == f"{after['runs'][0]['values'][0]:.3f}"


def test_no_weight_is_no_loss_and_no_number(opened):
    found = move(opened, 3, 2.0, high=0, low_top=0, low_other=0, ce=0)
    assert found["loss"] == "no term has a weight"
    assert found["shown"] == "\u2013"
    alone = move(opened, 3, 2.0, ce=1)
    assert isinstance(kd.parse_loss(alone["loss"]), kd.CrossEntropy)


def test_the_loss_is_copied(opened):
    origin = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    opened.send("Browser.grantPermissions", **origin)
    copied = opened.run(
        """new Promise((done) => {
          document.addEventListener("copy", () => done(getSelection().toString()), { once: true });
          navigator.clipboard && (navigator.clipboard.writeText = async (text) => done(text));
          document.querySelector(".explorer .loss button").click();
        })"""
    )
    assert kd.parse_loss(copied).k == 3


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_overflows_fails_or_is_requested(chromium, file, width, theme):
    feature = {"name": "prefers-color-scheme", "value": theme}
    chromium.send("Emulation.setEmulatedMedia", features=[feature])
    chromium.open(file, width)
    inner = chromium.run("[document.documentElement.scrollWidth, document.body.clientWidth]")
    assert inner[0] <= inner[1] <= width
    assert chromium.errors == []
    assert [url[:60] for url in chromium.requests if not url.startswith(("file:", "data:"))] == []
    colour = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", colour)[0]) < 128) == (theme == "dark")


def test_a_page_that_fails_or_overflows_would_be_noticed(chromium, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><div style='width:2000px'>x</div><img src='http://127.0.0.1:9/x.png'>"
        "<script>console.error('e'); nothing()</script>"
    )
    chromium.open(bad, 390)
    assert chromium.run("document.documentElement.scrollWidth") >= 2000
    assert any("nothing" in error for error in chromium.errors)
    assert "http://127.0.0.1:9/x.png" in chromium.requests


def test_the_page_is_short_and_light(opened, page):
    assert opened.run("document.documentElement.scrollHeight") <= 9000
    assert len(page.encode()) <= 2_500_000
    first = opened.run(
        "[...document.querySelectorAll('.verdict li')].map((e) => e.getBoundingClientRect().bottom)"
    )
    assert len(first) == 3
    assert max(first) < 900


def test_the_navigation_leaves_a_phone_its_first_screen(chromium, file):
    chromium.open(file, 390, 844)
    box = "document.querySelector('nav').getBoundingClientRect()"
    assert 0 < chromium.run(f"{box}.height") < 844 / 5
    chromium.run("scrollTo({ top: 3000, behavior: 'instant' })")
    picker = "document.querySelector('nav .picker').getBoundingClientRect()"
    top, bottom = chromium.run(f"[{picker}.top, {picker}.bottom]")
    assert 0 <= top < bottom <= 844  # in view wherever one reads


def test_at_most_sixty_stops_of_the_tab_key(opened):
    opened.run("document.body.focus()")
    stops = []
    for _ in range(80):
        opened.press("Tab")
        where = opened.run(
            "((e) => { e.dataset.stop ??= String(Math.random()); return e.dataset.stop; })"
            "(document.activeElement)"
        )
        if where in stops:
            break
        stops.append(where)
    inside = "document.querySelectorAll('[data-stop]:not(body)').length"
    assert 20 < opened.run(inside) <= 60


def test_the_picker_hides_what_is_of_other_students(opened):
    pick = "document.querySelector('nav .picker input[value=\"{}\"]').click()"
    shown = (
        "[...document.querySelectorAll('[data-run]')].filter((e) => getComputedStyle(e).display"
        " !== 'none').map((e) => e.dataset.run)"
    )
    assert set(opened.run(shown)) == set(LOSSES)
    opened.run(pick.format("dkd"))
    assert set(opened.run(shown)) == {"dkd"}
    rows = opened.run(
        "[...document.querySelectorAll('#share-table-1')].map((c) => c.closest('table'))[0].tBodies"
        "[0].querySelectorAll('tr:not([hidden])').length"
    )
    assert rows > 0
    opened.run(pick.format("all"))
    assert set(opened.run(shown)) == set(LOSSES)


@pytest.mark.parametrize("count", [6, 7])
def test_figures_of_many_students_are_shown_one_by_one(chromium, tmp_path, count):
    names = [f"s{i}" for i in range(count)]
    figures = [Shown(f"student {name}: own", draw, name) for name in names]
    section = Section("s", "S", figures=[*figures, Shown("of all", draw, "all")])
    lead = Lead(["v"], runs=names)
    path = tmp_path / "page.html"
    path.write_text(build([section], "T", {}, lead=lead), encoding="utf-8")
    chromium.open(path)
    parts = "[...document.querySelectorAll('.cards figure, .apart')]"
    drawn = f"{parts}.filter((e) => getComputedStyle(e).display !== 'none')"
    shown = f"{drawn}.map((e) => e.dataset.name || e.textContent)"
    told = [f"{count} figures of one student each: choose a student to see its own."]
    assert chromium.run(shown) == (["all", *told] if count > 6 else [*names, "all"])
    chromium.run("document.querySelector('nav .picker input[value=s1]').click()")
    assert chromium.run(shown) == ["s1", "all"]


def saved(opened, kind: str) -> dict[str, str]:
    """Press the button of every figure, and return the files by name."""
    found = opened.run(
        """(() => {
          const files = {};
          HTMLAnchorElement.prototype.click = function () { files[this.download] = this.href; };
          for (const button of document.querySelectorAll(".save button")) {
            if (button.textContent === KIND) button.click();
          }
          return files;
        })()""".replace("KIND", json.dumps(kind))
    )
    return {name: unquote(address.partition(",")[2]) for name, address in found.items()}


def test_every_figure_is_saved_as_a_picture_and_as_numbers(opened, study):
    figures = opened.run("document.querySelectorAll('figure[data-name]').length")
    pictures, numbers = (saved(opened, kind) for kind in ("SVG", "CSV"))
    assert len(pictures) == len(numbers) == figures
    for name, text in pictures.items():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert "currentColor" not in text, name
        assert "var(" not in text, name
    frame = study.tables["share"]
    rows = list(csv.DictReader(io.StringIO(numbers["share.csv"])))
    assert [row["loss"] for row in rows] == frame.loss.tolist()
    np.testing.assert_allclose([float(row["share"]) for row in rows], frame.share, rtol=2e-3)


def test_every_picture_has_a_role_and_a_label(opened):
    bare = opened.run(
        "[...document.querySelectorAll('figure[data-name] svg, .static svg')].filter((svg) =>"
        " !svg.closest('[role=img][aria-label]')).length"
    )
    assert bare == 0
    controls = opened.run(
        "[...document.querySelectorAll('input, button')].filter((e) =>"
        " !(e.labels?.length || e.textContent.trim())).length"
    )
    assert controls == 0


def test_a_printed_page_has_no_controls_and_fits_the_paper(opened):
    opened.send("Emulation.setEmulatedMedia", media="print")
    opened.resize(700)
    shown = opened.run(
        "[...document.querySelectorAll('nav, .save, .explorer .loss button')].filter((e) =>"
        " getComputedStyle(e).display !== 'none').length"
    )
    width = opened.run("document.documentElement.scrollWidth")
    cut = opened.run(
        "[...document.querySelectorAll('.reading')].filter((e) =>"
        " e.checkVisibility() && e.scrollHeight > e.clientHeight + 1).length"
    )
    opened.send("Emulation.setEmulatedMedia", media="")
    assert shown == 0
    assert width <= 700
    assert cut == 0  # on a screen the picker shows what is left out


def test_captions_of_wide_tables_are_read_whole_on_a_phone(chromium, file):
    chromium.open(file, 390)
    ends = chromium.run("""(() => {
      for (const one of document.querySelectorAll("details")) one.open = true;
      return [...document.querySelectorAll("caption")].map((e) => e.getBoundingClientRect().right);
    })()""")
    assert len(ends) > 5
    assert max(ends) <= 390


def test_a_notebook_shows_the_same_explorer_and_a_picture_without_scripts(
    chromium, study, tmp_path
):
    cell = tmp_path / "cell.html"
    cell.write_text(f"<!doctype html><meta charset=utf-8><div>{study.explorer._repr_html_()}</div>")
    chromium.open(cell, 900)
    assert chromium.errors == []
    found = move(chromium, 3, 4.0, high=1, low_top=1, low_other=8)
    assert found["loss"] == "gdkd:k=3,weights=1/1/8,temperature=4"
    visible = "getComputedStyle(document.querySelector('.static')).display !== 'none'"
    assert not chromium.run(visible)
    chromium.run("document.querySelector('.picker input[value=kd]').click()")
    assert chromium.run("document.querySelectorAll('.numbers tr[hidden]').length") == 2
    chromium.send("Emulation.setScriptExecutionDisabled", value=True)
    chromium.open(cell, 900)
    chromium.send("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.run(visible)
