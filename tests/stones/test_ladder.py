"""Ladder: stones are what they say, both paths agree, and both models are left as they were."""

import copy
import pickle
from typing import ClassVar

import pytest
import torch
from torch import nn

from kdanalysis import DKD, Blockwise, Ladder
from kdanalysis.networks.zoo import build_model
from tests.stones.pairs import CLASSES, PAIRS, Encoder, images, pair

LABELS = torch.tensor([0, 1, 2, 3])


def ladder_of(name: str, **options) -> Ladder:
    made = pair(name)
    return Ladder(made.student, made.teacher, images(), **made.blocks, **options)


def hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(m, kind)) for m in model.modules() for kind in kinds)


def parts(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights, buffers, and what else a training might leave on a model."""
    flags = {f"{n}.training": torch.tensor(m.training) for n, m in model.named_modules()}
    learns = {f"{n}.learns": torch.tensor(p.requires_grad) for n, p in model.named_parameters()}
    return {k: v.clone() for k, v in model.state_dict().items()} | flags | learns


def assert_same(before: dict, after: dict) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


def test_stones_are_the_students_blocks_then_the_teachers_by_hand():
    made = pair("resnet")
    student, teacher = made.student.eval(), made.teacher
    ladder = Ladder(student, teacher, images()).eval()

    logits, taught = ladder(images())

    features = student.stem(images())
    torch.testing.assert_close(logits[..., 0], student(images()))
    torch.testing.assert_close(taught, teacher(images()))
    for i in range(3):
        features = student.blocks[i](features)
        stone = ladder.connectors[i](features)
        for block in teacher.blocks[i + 1 :]:
            stone = block(stone)
        torch.testing.assert_close(logits[..., 1 + i], teacher.classify(stone))


@pytest.mark.parametrize("name", PAIRS)
def test_fast_and_whole_runs_give_equal_logits_and_gradients(name):
    fast = ladder_of(name)
    whole = Ladder(
        fast.student,
        fast.teacher,
        images(),
        fast.student_blocks,
        fast.teacher_blocks,
        connectors=fast.connectors,
        fast=False,
    )
    assert fast.fast
    assert not whole.fast
    fast.eval()
    found = {}
    for ladder in (fast, whole):
        logits, taught = ladder(images())
        assert logits.shape == (4, CLASSES, 1 + ladder.blocks)
        logits.mul(torch.arange(logits.numel()).view(logits.shape).sin()).sum().backward()
        gradients = [p.grad.clone() for p in ladder.parameters()]
        found[ladder] = (logits.detach(), taught, *gradients)
        ladder.zero_grad()
    for a, b in zip(*found.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_teacher_that_exposes_no_blocks_is_run_whole():
    torch.manual_seed(0)
    student, teacher = Encoder(8, 2), Encoder(12, 2).eval()
    ladder = Ladder(student, teacher, images(), *(2 * [("layers.0", "layers.1")]))
    assert not ladder.fast
    assert ladder(images()).student.shape == (4, CLASSES, 3)


@pytest.mark.parametrize("factor", [2, 1.001])
def test_a_tail_that_does_not_give_the_teachers_logits_is_not_taken(factor):
    made = pair("resnet")
    made.teacher.forward = lambda x: (
        factor * made.teacher.classify(made.teacher.forward_features(x))
    )
    ladder = Ladder(made.student, made.teacher, images())
    assert not ladder.fast
    del made.teacher.forward
    assert Ladder(made.student, made.teacher, images()).fast  # the control


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", PAIRS)
def test_training_leaves_the_teacher_bit_equal_and_both_without_hooks(name, fast):
    ladder = ladder_of(name, fast=fast)
    before, weights = parts(ladder.teacher), parts(ladder.student)
    optimizer = torch.optim.SGD(ladder.parameters(), lr=0.1)
    loss = Blockwise(DKD(), ladder.blocks)
    for seed in range(3):
        optimizer.zero_grad()
        sum(loss(*ladder(images(seed)), LABELS).values()).mean().backward()
        optimizer.step()
    assert_same(before, parts(ladder.teacher))
    assert all(p.grad is None for p in ladder.teacher.parameters())
    assert hooks(ladder.student) == hooks(ladder.teacher) == 0
    moved = parts(ladder.student)
    learning = [name for name, _ in ladder.student.named_parameters()]
    assert all(not torch.equal(weights[name], moved[name]) for name in learning)
    assert all(p.grad.any() for p in ladder.connectors.parameters() if p.dim() > 1)


@pytest.mark.parametrize("fast", [True, False])
def test_every_stone_sends_gradient_to_its_own_blocks_and_no_deeper(fast):
    ladder = ladder_of("resnet", fast=fast)
    logits = ladder(images()).student
    blocks = [list(block.parameters()) for block in ladder.student.blocks]
    for i in (1, 2, 3):
        found = [
            torch.autograd.grad(logits[..., i].sum(), block, retain_graph=True, allow_unused=True)
            for block in blocks
        ]
        reached = [any(g is not None and g.any() for g in block) for block in found]
        assert reached == [True] * i + [False] * (3 - i)


def test_a_student_is_kept_and_so_are_its_keys_and_shapes():
    ladder = ladder_of("resnet")
    plain = build_model("resnet8", CLASSES).state_dict()
    kept = ladder.student.state_dict()
    assert {k: v.shape for k, v in kept.items()} == {k: v.shape for k, v in plain.items()}
    assert "teacher" not in " ".join(ladder.state_dict())
    assert {id(p) for p in ladder.parameters()} == {
        id(p) for part in (ladder.student, ladder.connectors) for p in part.parameters()
    }
    assert not ladder.train().teacher.training
    pickle.loads(pickle.dumps(ladder.student))


def test_the_dry_run_changes_neither_model_and_draws_only_the_connectors():
    made = pair("encoder")
    made.student.layers[1].eval()
    before = parts(made.student), parts(made.teacher)
    state = torch.get_rng_state()
    given = [nn.Linear(8, 12), nn.Linear(8, 12)]
    torch.set_rng_state(state)
    Ladder(made.student, made.teacher, images(), **made.blocks, connectors=given)
    assert_same(before[0], parts(made.student))
    assert_same(before[1], parts(made.teacher))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_nothing_is_left_after_an_exception_in_forward(side):
    ladder = ladder_of("encoder", fast=False)
    for p in ladder.teacher.parameters():
        p.requires_grad_(True)
    broken = getattr(ladder, side)
    before = parts(ladder.teacher)
    handle = broken.norm.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        ladder(images())
    handle.remove()
    assert hooks(ladder.student) == hooks(ladder.teacher) == 0
    assert_same(before, parts(ladder.teacher))


def test_nothing_is_left_after_an_exception_in_a_stone():
    ladder = ladder_of("encoder", fast=False)
    calls = []
    handle = ladder.teacher.norm.register_forward_pre_hook(
        lambda *_: fail() if len(calls) else calls.append(1)
    )
    with pytest.raises(ZeroDivisionError):
        ladder(images())
    handle.remove()
    assert hooks(ladder.student) == hooks(ladder.teacher) == 0


def fail(*seen):
    raise ZeroDivisionError


def test_a_subset_of_stones_and_light():
    every = ladder_of("vgg").eval()
    some = Ladder(
        every.student,
        every.teacher,
        images(),
        every.student_blocks,
        every.teacher_blocks,
        light=True,
        connectors=every.connectors[1:],
    ).eval()
    assert some.numbers == (2, 3) == Blockwise(light=True).numbers
    torch.testing.assert_close(
        some(images()).student, every(images()).student[..., [0, 2, 3]], rtol=1e-4, atol=1e-5
    )


def test_maps_of_other_sizes_are_connected():
    torch.manual_seed(0)
    student, teacher = build_model("resnet8", CLASSES), build_model("vgg8", CLASSES).eval()
    ladder = Ladder(student, teacher, images(), None, ("block1", "block2", "block3"))
    assert [len(connector) for connector in ladder.connectors] == [3, 3, 3]  # resize, mix, norm
    turned = Ladder(teacher, student.eval(), images(), ("block1", "block2", "block3"))
    assert turned(images()).student.isfinite().all()


def test_mixed_precision_and_no_grad_give_finite_logits():
    ladder = ladder_of("resnet")
    with torch.autocast("cpu", torch.bfloat16):
        logits, taught = ladder(images())
    loss = Blockwise()(logits, taught, LABELS)
    sum(loss.values()).mean().backward()
    assert all(p.grad.isfinite().all() for p in ladder.parameters())
    with torch.inference_mode():
        assert ladder(images()).student.isfinite().all()


def test_a_copy_runs_by_itself():
    ladder = ladder_of("resnet").eval()
    other = copy.deepcopy(ladder)
    expected = ladder(images()).student
    with torch.no_grad():
        for parameter in ladder.teacher.parameters():
            parameter.zero_()
    torch.testing.assert_close(other(images()).student, expected)


class Tied(nn.Module):
    """One block that runs twice, then a ReLU in place."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.twice, self.block = twice, nn.Conv2d(3, 3, 1)
        self.relu, self.other = nn.ReLU(inplace=True), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.block(self.block(x)) if self.twice else self.block(x)
        return self.relu(x).flatten(1)[:, :CLASSES]


def refuse(message: str, **changes) -> None:
    made = pair("resnet")
    options = {"student": made.student, "teacher": made.teacher, "example": images()} | changes
    with pytest.raises(ValueError, match=message) as caught:
        Ladder(**options)
    assert "\n" not in str(caught.value)
    assert hooks(options["student"]) == hooks(options["teacher"]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"student_blocks": ("layer1", "layr2", "layer3")},
            "no block 'layr2'; did you mean 'lay",
        ),
        ({"teacher_blocks": ("x", "y", "z")}, "the teacher has no block 'x'; it has: conv1"),
        (
            {"student_blocks": "layer1"},
            "student_blocks must be a list or tuple, .* got .layer1",
        ),
        ({"student_blocks": ("layer1", "layer1", "layer2")}, "block 'layer1' is named twice"),
        ({"student_blocks": ("layer1", "layer2")}, "has 2 blocks and the teacher 3"),
        (
            {"teacher_blocks": ("layer2", "layer1", "layer3")},
            "runs its blocks in the order layer1, layer2, layer3: name them so, not layer2",
        ),
        ({"stones": (0, 1)}, "stones must rise within 1 to 3"),
        ({"connectors": [nn.Identity()]}, "a connector for each of 3 stones, got 1"),
        (
            {"connectors": [nn.Identity(), nn.Identity(), nn.Conv2d(64, 60, 1)]},
            r"the connector of stone 3 gives \(4, 60, 4, 4\), but the teacher.s block gives",
        ),
        (
            {"connectors": [nn.MaxPool2d(1, return_indices=True), nn.Identity(), nn.Identity()]},
            "the connector of stone 1 gives a tuple, but the teacher's block gives",
        ),
        (
            {"connectors": iter([nn.Identity(), torch.relu, nn.Identity()])},
            "the connector of stone 2 must be a module, got <built-in method relu",
        ),
        (
            {"connectors": [nn.Identity(), nn.Conv2d(3, 32, 1), nn.Identity()]},
            r"the connector of stone 2 cannot take the student's \(4, 32, 8, 8\)",
        ),
        (
            {"student": Encoder(8, 3), "student_blocks": ("layers.0", "layers.1", "layers.2")},
            "stone 1 has no connector from the student's",
        ),
        ({"teacher": build_model("resnet8", CLASSES)}, "the teacher is in training mode"),
        ({"teacher": build_model("resnet8", 7).eval()}, "both need the same classes"),
        ({"teacher": Encoder(8, 3).eval()}, "name the teacher's blocks: it has no block_names"),
        (
            {"student": Tied(True), "student_blocks": ("block",) * 1, "stones": (1,)},
            "has 1 blocks and the teacher 3",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(changes, message):
    refuse(message, **changes)


@pytest.mark.parametrize(
    ("student", "block", "message"),
    [
        (Tied(True), "block", "the student's block 'block' ran twice in one forward pass"),
        (Tied(False), "block", "changes the output of the student's block 'block' in place"),
        (Tied(False), "other", "the student's block 'other' did not run in its forward pass"),
    ],
)
def test_blocks_that_cannot_be_followed_are_refused(student, block, message):
    options = {"student_blocks": (block,), "teacher_blocks": ("layer1",)}
    refuse(message, student=student, **options)


def test_a_teacher_that_is_put_into_training_mode_later_is_refused():
    ladder = ladder_of("resnet")
    ladder.teacher.bn1.train()
    with pytest.raises(ValueError, match="the teacher is in training mode"):
        ladder(images())


class Wrapping(nn.Module):
    """A block that gives a tuple and takes a keyword, as language models' layers do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x, scale=1.0):
        return scale * self.linear(x), "attention"


class Tuples(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.block = nn.Linear(3, width), Wrapping(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x, *, scale):
        found, word = self.block(self.first(x), scale=scale)
        assert word == "attention"
        return {"logits": self.head(found.relu())}


def test_blocks_may_give_tuples_and_models_take_keywords():
    torch.manual_seed(0)
    student, teacher = Tuples(4), Tuples(6).eval()
    x = torch.randn(2, 3)
    ladder = Ladder(Fixed(student), Fixed(teacher).eval(), x, ("model.block",), ("model.block",))
    assert not ladder.fast
    stone = ladder.connectors[0](student.block(student.first(x), scale=2.0)[0]).relu()
    torch.testing.assert_close(ladder(x, scale=2.0).student[..., 1], teacher.head(stone))
    half = ladder(x, scale=0.5).student
    assert not torch.equal(half, ladder(x, scale=2.0).student)


class Fixed(nn.Module):
    """Gives the keyword a default, for the dry run."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x, scale=1.0):
        return self.model(x, scale=scale)


class Blocks(nn.Module):
    """A student of three blocks, which torch.compile reads as it is in tests as well."""

    block_names: ClassVar[tuple[str, ...]] = ("one", "two", "three")

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, stride=2)
        self.three, self.fc = nn.Conv2d(6, 8, 3), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.fc(self.three(self.two(self.one(x)).relu()).mean((2, 3)))


WRAPPERS = {
    "data parallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "both": lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
}


@pytest.fixture
def _compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("_compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own look
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_blocks_of_a_wrapped_student_are_found_by_name(wrap):
    student, teacher, ladders = Blocks(), pair("resnet").teacher, []
    known = student.block_names
    for one, names in ((student, None), (wrap(student), None), (wrap(student), known)):
        torch.manual_seed(3)
        ladders.append(Ladder(one, teacher, images(), names).eval())
        assert ladders[-1].student_blocks == known
        torch.compiler.reset()
    for step in range(3):
        expected, *found = (ladder(images(step)).student for ladder in ladders)
        for logits in found:
            torch.testing.assert_close(logits, expected)


@pytest.mark.usefixtures("_compiler")
def test_blocks_inside_compiled_code_that_has_run_are_refused():
    student = torch.compile(Blocks(), backend="eager")
    student(images())
    with pytest.raises(ValueError, match="the student is compiled, and compiled code has run"):
        Ladder(student, pair("resnet").teacher, images())
