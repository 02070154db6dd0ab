"""A folder from somebody else: nothing is ever written through a link that lies in it."""

import sys

import pytest

from kdanalysis.store.files import commit_file, whole_file
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links")


def hang(link, target):
    """Put a link in the place of a file or folder."""
    if link.is_dir():
        link.rmdir() if not any(link.iterdir()) else link.rename(link.with_name("away"))
    link.unlink(missing_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target, target_is_directory=target.is_dir())


@pytest.mark.parametrize("existing", ["resume", "overwrite"])
@pytest.mark.parametrize(
    "name",
    [
        *["locks/rank-0.json", "locks/rank-0.lock", "locks", "samples", "layers"],
        *["samples/rank-0", "run.json"],
    ],
)
def test_a_link_in_a_run_folder_is_refused_by_its_name(stored, tmp_path, batch, name, existing):
    root, outside = stored(range(4)), tmp_path / "outside"
    outside.mkdir()
    precious = outside / "precious"
    whole = (root / "run.json").read_bytes()
    precious.write_bytes(whole)  # what reads as a run.json, and must not be written
    hang(root / name, precious if name.endswith(("json", "lock")) else outside)

    def train():
        with PartWriter(root, 0, RunInfo(6), existing=existing) as writer:
            writer.write(batch(9))

    if (name, existing) == ("run.json", "resume"):
        train()  # only read
    else:
        with pytest.raises(ValueError, match=rf"{name} is a link: nothing is written through it"):
            train()
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert precious.read_bytes() == whole


def test_temporary_names_cannot_be_guessed_and_old_ones_are_not_followed(stored, tmp_path):
    root, precious = stored(range(4)), tmp_path / "precious"
    precious.write_text("mine")
    for name in (".run.json.tmp", "locks/.rank-0.json.tmp", "samples/rank-0/.x.tmp"):
        hang(root / name, precious)
    stored(range(4, 6), existing="overwrite")
    assert precious.read_text() == "mine"
    assert not (root / ".run.json.tmp").is_symlink()


@pytest.mark.parametrize("write", [lambda p: commit_file(p, [b"x"]), lambda p: whole(p, b"x")])
def test_a_file_is_not_written_through_a_link(tmp_path, write):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "kd.pt").symlink_to(tmp_path / "precious")
    with pytest.raises(ValueError, match=r"kd\.pt is a link: nothing is written through it"):
        write(tmp_path / "kd.pt")
    assert (tmp_path / "precious").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kd.pt", "precious"]


def whole(path, content):
    with whole_file(path) as file:
        file.write(content)


def test_a_whole_file_takes_away_what_a_killed_writer_of_it_left(tmp_path):
    (tmp_path / ".kd.pt.0123abcd.tmp").write_text("half")
    (tmp_path / ".other.pt.0123abcd.tmp").write_text("of a writer that lives")
    whole(tmp_path / "kd.pt", b"new")
    assert (tmp_path / "kd.pt").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".other.pt.0123abcd.tmp",
        "kd.pt",
    ]


def test_a_whole_file_keeps_the_old_one_where_writing_fails(tmp_path):
    whole(tmp_path / "kd.pt", b"old")

    def fail():
        with whole_file(tmp_path / "kd.pt") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
