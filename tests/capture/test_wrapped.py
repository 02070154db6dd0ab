"""Models inside wrappers: layers by their own names, rows once, residuals as without."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel
from toy import Training, batches, network

from kdanalysis import (
    GDKD,
    SDD,
    CrossEntropy,
    Recorder,
    Side,
    Store,
    Sum,
    every,
    open_run,
)
from kdanalysis.networks.names import submodule

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))


@pytest.fixture(scope="module", autouse=True)
def _alone():
    """A process group of one, whose members need no network."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def sharded(model: nn.Module) -> nn.Module:
    mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


def sharded_by_wrapper(model: nn.Module, **options) -> nn.Module:
    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **options)


def with_own_parameters(model: nn.Module) -> nn.Module:
    return sharded_by_wrapper(model, use_orig_params=True)


def checkpointed(model: nn.Module) -> nn.Module:
    for place in (0, 4):
        model[place] = checkpoint_wrapper(model[place])
    return model


WRAPPERS = [
    nn.DataParallel,
    DistributedDataParallel,
    lambda model: torch.compile(DistributedDataParallel(model), backend="eager"),
    lambda model: DistributedDataParallel(torch.compile(model, backend="eager")),
    sharded,
    sharded_by_wrapper,
    with_own_parameters,
    checkpointed,
]
NAMES = ["dp", "ddp", "compiled ddp", "ddp of compiled", "fsdp2", "fsdp", "fsdp orig", "checkpoint"]


def train(path, wrap, layer="", **options) -> tuple[np.ndarray, ...]:
    torch.compiler.reset()
    training = Training()
    student = wrap(training.student)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    teacher = nn.DataParallel(training.teacher)
    sides = {"student": Side(student, layer), "teacher": teacher}
    options = {"schedule": every(1), "store": Store("float32")} | options
    with Recorder(path, LOSS, **sides, **options) as recorder:
        for x, y, index in batches(3):
            with torch.no_grad():
                teacher(x)
            student(x)
            recorder.loss(y, sample_id=index).backward()
            optimizer.step()
            optimizer.zero_grad()
    (rows,) = open_run(path).batches(["sample_id", "residual", "student_logits"], 1000)
    return rows["sample_id"], rows["residual"], rows["student_logits"]


@pytest.mark.filterwarnings("ignore:FSDP is switching", "ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("wrap", WRAPPERS, ids=NAMES)
@pytest.mark.parametrize("layer", ["", "4"])
def test_a_wrapped_student_gives_the_rows_of_the_plain_one(tmp_path, wrap, layer):
    sample_id, residual, logits = train(tmp_path / "run", wrap, layer=layer)
    _, _, expected = train(tmp_path / "plain", lambda model: model)
    assert sample_id.tolist() == list(range(30))
    assert residual.max() < 1e-5
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["4", "module.4", "_orig_mod.4", "_orig_mod.module.4"])
def test_a_layer_is_found_with_and_without_the_wrappers_prefixes(name):
    torch.compiler.reset()
    model = network(0)
    wrapped = torch.compile(nn.DataParallel(model), backend="eager")
    assert submodule(wrapped, name, "student") is model[4]
    with pytest.raises(ValueError, match="no layer 'head'; it has: 0, 1, 2, 3, 4"):
        submodule(wrapped, "head", "student")


def test_a_wrapped_layer_is_its_wrapper_whose_output_the_model_goes_on_with():
    model = checkpointed(network(0))
    assert submodule(model, "4", "student") is model[4]
    assert submodule(model, "4._checkpoint_wrapped_module", "student") is not model[4]


def test_a_layer_that_is_called_module_is_meant_first():
    model = nn.ModuleDict({"module": nn.ModuleDict({"head": nn.Linear(2, 2)})})
    model["head"] = nn.Linear(2, 2)
    assert submodule(model, "head", "student") is model["head"]
    assert submodule(model, "module.head", "student") is model["module"]["head"]


@pytest.mark.parametrize("options", [{"layer": "4"}, {"loss": SDD(LOSS)}])
def test_layers_inside_data_parallel_on_several_devices_are_refused(tmp_path, options):
    student = nn.DataParallel(network(0))
    student.device_ids = [0, 1]
    side, loss = Side(student, options.get("layer", "")), options.get("loss", LOSS)
    with pytest.raises(ValueError, match="in DataParallel on several devices: a layer inside it"):
        Recorder(tmp_path / "run", loss, student=side)
    Recorder(tmp_path / "run", LOSS, student=student).close()  # the control: the whole model


def test_student_and_teacher_in_one_place_are_refused(tmp_path):
    model = network(0)
    with pytest.raises(ValueError, match="student and teacher are the same module, whose passes"):
        Recorder(tmp_path / "run", LOSS, student=model, teacher=model)
    assert not model._forward_hooks


def test_student_and_teacher_may_be_two_layers_of_one_model(tmp_path):
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.early, self.late = nn.Linear(8, 6), network(1)

        def forward(self, x):
            return self.early(x), self.late(x)

    model, (x, y, _) = TwoHeads().eval(), next(batches(1))
    sides = {"student": Side(model, "early"), "teacher": Side(model, "late")}
    with Recorder(tmp_path / "run", LOSS, **sides, store=Store("float32")) as recorder:
        early, late = model(x)
        recorder.observe(y)
    (rows,) = open_run(tmp_path / "run").batches(["student_logits", "teacher_logits"], 100)
    np.testing.assert_array_equal(rows["student_logits"], early.detach().numpy())
    np.testing.assert_array_equal(rows["teacher_logits"], late.detach().numpy())
