"""Every code block of README, docs and docstrings runs, commands parse, links lead somewhere."""

import doctest
import importlib
import re
import shlex
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.numpy import save_file
from typer.testing import CliRunner

import kdanalysis as kd
from kdanalysis.cli.main import app
from kdanalysis.networks.zoo import build_model
from kdanalysis.pages.study import Study

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN_TESTS = {"analyzer.md": "test_analyzer.py", "loss.md": "test_loss.py"}
PARSED = {  # and not run here
    "train": "it trains networks: tests/cli/test_train.py",
    "regions": "it needs networks and images: tests/cli/test_regions.py",
    "ladder": "it needs networks and images: tests/cli/test_ladder.py",
    "report": "it draws: tests/cli/test_report.py",
}
WITHOUT = dict.fromkeys(
    ("import trl\n", "from trl."),
    "what is not installed everywhere: tests/integrations/test_trl.py",
)
ids = lambda page: page.name  # noqa: E731


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """The arguments of every call of kdanalysis, with its continued lines, also under torchrun."""
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    text = "".join(blocks).replace("\\\n", " ")
    text = text.replace("bash scripts/train_one_node.sh", "kdanalysis train")
    lines = re.findall(r"^(?:torchrun .* -m )?(kdanalysis .*)$", text, re.M)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with the files that examples name, and what a training loop has at hand."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.setattr(Study, "_page", lambda study, *_: study.title)  # drawing takes long
    torch.manual_seed(0)
    rng, classes = np.random.default_rng(0), 10
    teacher = rng.normal(size=(64, classes)).astype(np.float32) * 3
    target = teacher.argmax(1)
    for name in ("logits", "kd", "dkd", "gdkd", "teacher"):
        student = teacher + rng.normal(size=teacher.shape).astype(np.float32)
        sides = {"teacher_logits": teacher, "student_logits": student, "target": target}
        np.savez(f"{name}.npz", **sides)
    save_file(sides, "logits.safetensors")
    models = [build_model("resnet8", classes) for _ in range(2)]
    images = torch.randn(12, 3, 16, 16)
    y, index = torch.from_numpy(target[:12]), torch.arange(12)
    for name in ("kd", "dkd", "gdkd"):  # examples that train write runs of other names
        loss = kd.parse_loss(name)
        with kd.Recorder(f"runs/{name}", loss) as recorder:
            for step in (0, 1):
                z = torch.from_numpy(teacher[:12] + step).requires_grad_()
                recorder.loss(y, sample_id=index, student=z, teacher=z.detach() * 2).backward()
    given = {"kd": kd, "np": np, "torch": torch, "teacher": models[1].eval(), "student": models[0]}
    loader = torch.utils.data.DataLoader([(images, y, index)], batch_size=None)
    given |= {"loader": loader, "epochs": 1, "x": images, "y": y, "images": images}
    given |= {"target": y, "loss": kd.Sum(kd.CrossEntropy(), kd.GDKD(k=3))}
    given["optimizer"] = torch.optim.SGD(models[0].parameters(), 0.01)
    return given


def world_of_integrations(given: dict, folder: Path) -> dict:
    """A Lightning module and two small language models beside it."""
    lightning = pytest.importorskip("lightning.pytorch", reason="the extra lightning brings it")
    transformers = pytest.importorskip("transformers", reason="the extra transformers brings it")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.student, self.teacher = given["student"], given["teacher"]

        def training_step(self, batch, number):
            x, y, index = batch
            self.student(x)
            self.teacher(x)
            return given["callback"].loss(y, sample_id=index)

        def configure_optimizers(self):
            return given["optimizer"]

    shape = {"n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 16, "vocab_size": 32}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = transformers.GPT2Config(**shape, **ends)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    tokens = torch.arange(12) % 32
    entry = {"input_ids": tokens, "labels": tokens, "attention_mask": torch.ones_like(tokens)}
    given |= {
        "module": Module(),
        "Trainer": partial(lightning.Trainer, max_epochs=1, accelerator="cpu", **quiet),
        "small": transformers.GPT2LMHeadModel(config),
        "large": transformers.GPT2LMHeadModel(config),
        "args": transformers.TrainingArguments(folder, max_steps=2, use_cpu=True, report_to=[]),
        "data": [entry | {"sample_id": number} for number in range(16)],
    }
    return given


@pytest.mark.parametrize(
    "page", [p for p in PAGES if python_blocks(p) and p.name not in OWN_TESTS], ids=ids
)
def test_its_python_runs(page, world, tmp_path):
    if page.name == "integrations.md":
        warnings.simplefilter("ignore")  # Lightning and transformers warn of their own
        world = world_of_integrations(world, tmp_path)
    for block in python_blocks(page):
        code = compile(block, str(page), "exec")
        if not any(block.startswith(start) for start in WITHOUT):
            exec(code, world)


def test_examples_in_docstrings_give_what_they_show():
    shown = [p for p in (ROOT / "kdanalysis").rglob("*.py") if ">>> " in p.read_text("utf-8")]
    for path in shown:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        failed, tried = doctest.testmod(importlib.import_module(name))
        assert failed == 0 < tried, name
    assert shown


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=ids)
def test_its_commands_run_or_parse(page, world):
    group = typer.main.get_command(app)
    for name, *rest in commands(page):
        if own := name == "--import":  # of a file that OWN_TESTS write
            _, name, *rest = rest
        group.commands[name].make_context(name, list(rest))
        if name not in PARSED and not own:
            done = CliRunner().invoke(app, [name, *rest])
            assert done.exit_code == 0, (name, rest, done.output)


def test_the_readme_shows_real_output(world):
    text = PAGES[0].read_text(encoding="utf-8")
    pattern = r"^```\nkdanalysis (diagnose .*)\n```\n\n```\n(.*?)^```"
    line, shown = re.search(pattern, text, re.M | re.S).groups()
    printed = [row.rstrip() for row in CliRunner().invoke(app, line.split()).output.splitlines()]
    assert len(shown.splitlines()) > 3
    assert [row for row in shown.splitlines() if row.rstrip() not in printed] == []


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=ids)
def test_its_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith("http"):
            continue
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), link
        assert not anchor or anchor in anchors(other), link


def test_every_page_of_the_docs_is_linked_from_the_readme():
    text = PAGES[0].read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text] == []


def test_pages_that_are_left_out_have_tests_of_their_own():
    assert all((Path(__file__).parent / name).exists() for name in OWN_TESTS.values())
