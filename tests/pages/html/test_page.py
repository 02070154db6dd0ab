"""The page is one file: nothing from users becomes markup, nothing is fetched, bytes repeat."""

import base64
import hashlib
import os
import re
import sys
import threading
from functools import partial

import pandas as pd
import pytest
from meeting import Meeting
from page_reader import HOSTILE, Reader, draw

from kdanalysis.core.cores import on_cores
from kdanalysis.pages.html import Section, Shown
from kdanalysis.pages.html.page import build
from kdanalysis.pages.lead import Lead
from kdanalysis.pages.study import Study

DRAWN = True  # the pictures are looked at


@pytest.fixture
def page(sections) -> str:
    return build(sections, f"Title {HOSTILE}", {"run": HOSTILE, "losses": ["kd", HOSTILE]})


def test_texts_of_users_show_as_written_and_never_as_tags(page):
    reader = Reader(page)
    assert reader.all("img") == []
    assert len(reader.all("script")) == 1
    # title twice, two facts, heading in page and navigation, tile, sentence, picture, caption, cell
    assert reader.text.count(HOSTILE) == 11


def test_the_reader_would_see_a_raw_tag():
    assert Reader(f"<p>{HOSTILE}</p>").all("img") == [{"src": "x", "onerror": "alert(1)"}]


def test_no_address_leads_out_of_the_page(page):
    reader = Reader(page)
    links = [v for _, a in reader.tags for k, v in a.items() if k in {"src", "href", "xlink:href"}]
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert "url(" not in reader.raw["style"]
    assert "@import" not in reader.raw["style"]
    assert not re.search(r"fetch|XMLHttpRequest|import\(|https?:", reader.raw["script"])


def test_the_policy_allows_this_style_and_this_script_only(page):
    reader = Reader(page)
    policy = next(a["content"] for a in reader.all("meta") if "http-equiv" in a)
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(reader.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not [a for _, a in reader.tags if "style" in a or any(k.startswith("on") for k in a)]


def test_equal_input_gives_equal_bytes(sections, page):
    again = build(sections, f"Title {HOSTILE}", {"run": HOSTILE, "losses": ["kd", HOSTILE]})
    assert again == page
    assert build(sections, "Other", {}) != page


def test_ids_are_unique_and_every_reference_has_one(page):
    reader = Reader(page)
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r"url\(#([^)]+)\)", page)) | {
        a["href"][1:] for _, a in reader.tags if a.get("href", "").startswith("#")
    }
    assert wanted
    assert wanted <= set(ids)


def test_headings_are_in_order_and_pictures_have_texts(page):
    reader = Reader(page)
    assert [tag for tag, _ in reader.tags if re.fullmatch(r"h\d", tag)] == ["h1", "h2", "h2"]
    labels = [a["aria-label"] for a in reader.all("div") if a.get("role") == "img"]
    assert labels == [f"first. Read {HOSTILE}.", f"second. Read {HOSTILE}."]


def test_too_many_marks_become_a_png_with_a_text():
    reader = Reader(
        build(
            [Section("s", "S", "Read.", figures=[Shown("many", partial(draw, 5001), "many")])],
            "T",
            {},
        )
    )
    (image,) = reader.all("img")
    assert image["alt"] == "many. Read."
    assert base64.b64decode(image["src"].partition(",")[2]).startswith(b"\x89PNG")
    few = Reader(
        build(
            [Section("s", "S", "Read.", figures=[Shown("few", partial(draw, 4900), "few")])],
            "T",
            {},
        )
    )
    assert few.all("img") == []


def test_long_tables_fold_after_the_first_rows():
    frame = pd.DataFrame({"x": range(1500)})
    page = build([Section("s", "S", tables=[("long", frame)])], "T", {})
    reader = Reader(page)
    rows = reader.all("tr")[1:]
    assert [row.get("class") for row in rows] == [None] * 8 + ["more"] * 992
    assert "1,500 rows, the first 1,000 on this page" in reader.text


def test_a_table_hardly_longer_does_not_fold():
    page = build([Section("s", "S", tables=[("t", pd.DataFrame({"x": range(10)}))])], "T", {})
    assert [row for row in Reader(page).all("tr") if row.get("class")] == []


def test_numbers_are_right_aligned_and_ranked_by_their_full_precision():
    close = [1 / 3 + 1e-12, 1 / 3, float("nan"), 1 / 3, float("inf")]
    frame = pd.DataFrame({"x": close, "name": list("abcde")})
    reader = Reader(build([Section("s", "S", tables=[("t", frame)])], "T", {}))
    assert [cell.get("data-rank") for cell in reader.all("td")[::2]] == ["2", "1", None, "1", "3"]
    assert [cell.get("class") for cell in reader.all("td")[:2]] == [None, "t"]
    assert [h.get("class") for h in reader.all("th")] == [None, "t"]


def test_a_number_stays_on_one_line_with_its_unit_its_interval_and_its_name():
    said = "T = 4: 40.8 ± 7.6 % (95 % 1 to 2), seen in 2 \u00d7 2 cells, T ≤ 2 of 8.2 million."
    page = build([Section("s", "S", said, said)], "T", {})
    kept = "T~=~4: 40.8~±~7.6~% (95~% 1 to 2), seen in 2~\u00d7~2 cells, T~≤~2 of 8.2~million."
    kept = kept.replace("~", "\u00a0")
    assert Reader(page).text.count(kept) == 2


def test_numbers_below_0_have_a_minus_sign_and_are_sorted():
    frame = pd.DataFrame({"x": [1.5, -3.0, -0.25], "text": ["a-1", "-1 b", "-"]})
    cells = Reader(build([Section("s", "S", tables=[("t", frame)])], "T", {})).cells
    assert cells == ["1.500", "a-1", "\u22123.000", "-1 b", "\u22120.250", "-"]


def test_groups_between_two_numbers_have_a_dash_and_texts_of_users_stay():
    frame = pd.DataFrame({"group": ["0-0.1", "4+"], "sample": ["12-5", "12-6"]})
    cells = Reader(build([Section("s", "S", tables=[("t", frame)])], "T", {})).cells
    assert cells == ["0\u20130.1", "12-5", "4+", "12-6"]


def test_numbers_that_their_texts_sort_have_no_rank():
    frame = pd.DataFrame({"x": [1.5, float("nan"), 20_000.0, -3.0], "n": [1000, 7, 7, 2]})
    reader = Reader(build([Section("s", "S", tables=[("t", frame)])], "T", {}))
    assert [cell for cell in reader.all("td")] == [{}] * 8


def test_lines_of_a_student_of_a_file_are_those_of_a_run_for_the_picker():
    text = "student a: one.\nrun ab: two.\na: three.\nof all."
    page = build([Section("s", "S", text)], "T", {}, lead=Lead(["v"], runs=["a", "ab"]))
    found = [one.get("data-run") for one in Reader(page).all("p") if one.get("class") == "reading"]
    assert found[:4] == ["a", "ab", "a", None]


def test_figures_of_one_student_are_named_for_the_picker():
    figures = [Shown(text, draw, text[-1]) for text in ("student a: one", "of all: b")]
    page = build([Section("s", "S", figures=figures)], "T", {}, lead=Lead(["v"], runs=["a", "b"]))
    assert [one.get("data-run") for one in Reader(page).all("figure")] == ["a", None]


def test_two_sections_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two sections are named 'a'"):
        build([Section("a", "A"), Section("a", "B")], "T", {})


def test_a_name_that_is_no_anchor_is_refused():
    with pytest.raises(ValueError, match="section name 'a b' cannot be an anchor"):
        Section("a b", "A")


def test_a_page_tells_once_of_letters_that_no_font_has_and_lays_out_once_for_its_files():
    figures = [Shown(name, partial(draw, label="猫"), name) for name in "ab"]
    with pytest.warns(RuntimeWarning, match="lacks letters of 猫: PNG and PDF") as caught:
        build([Section("s", "S", figures=figures)], "T", {})
    assert len(caught) == 1
    assert all("box" in vars(shown.drawn) for shown in figures)


@pytest.fixture
def cores(monkeypatch):
    """Give what sets how many cores there are."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    return lambda *known: monkeypatch.setattr(os, "sched_getaffinity", lambda process: {*known})


def drawn_here(counted, meet, tasks):
    """Draw on two cores, count what this process draws, and let either process draw some."""

    def one(task):
        counted.append(task)  # in a fork of this list where a fork does it
        return meet(task)

    return on_cores([partial(one, task) for task in tasks])


@pytest.mark.skipif(sys.platform != "linux", reason="one process elsewhere")
def test_two_cores_draw_the_same_page_and_tell_the_same_once(cores, tmp_path, recwarn, monkeypatch):
    pages, files, here = [], [], []
    for known in ((0,), (0, 1)):
        cores(*known)
        if len(known) > 1:
            place, both = "kdanalysis.pages.html.picture.on_cores", (here, Meeting())
            monkeypatch.setattr(place, partial(drawn_here, *both))
        figures = [Shown(f"{n}", partial(draw, n + 2, "猫" * (n % 2)), f"{n}") for n in range(8)]
        sections = [Section(f"s{n}", "S", figures=figures[n : n + 3]) for n in (0, 3)]
        lead = Lead(["a line"], figures[6:])
        pages.append(build(sections, "T", {}, lead))
        study = Study("T", {}, {}, lambda given=sections: given, lead=lambda given=lead: given)
        folder = tmp_path / f"{len(known)}"
        folder.mkdir()
        study.write_figures(folder, ("svg", "png"))
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert 0 < len(here) < 8
    assert pages[0] == pages[1]
    pictures = [a for _, a in Reader(pages[1]).tags if a.get("role") == "img"]
    assert [one["aria-label"][0] for one in pictures] == [*"67", *"012345"]
    assert files[0] == files[1]
    assert len(files[0]) == 16
    assert [str(one.message).partition(":")[0] for one in recwarn] == [
        "DejaVu Sans lacks letters of 猫"
    ] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="one process elsewhere")
def test_a_figure_that_cannot_be_drawn_is_told_of_in_its_own_words(cores, capfd):
    cores(0, 1)
    figures = [Shown(f"{n}", draw, f"{n}") for n in range(8)]
    figures[5].figure.axes[0].set_xlabel(r"$\later$")
    figures[2].figure.axes[0].set_xlabel(r"$\nonsense$")
    with pytest.raises(ValueError, match="nonsense"):
        build([Section("s", "S", figures=figures)], "T", {})
    assert capfd.readouterr() == ("", "")


def test_the_files_that_are_wanted_are_drawn_with_the_page():
    figures = [Shown(f"{n}", partial(draw, n), f"{n}") for n in (1, 2, 5001, 4)]
    build([Section("s", "S", "Read.", figures=figures)], "T", {}, kinds=("svg", "png"))
    assert all({*one.drawn.files} == {"svg", "png"} for one in figures)
