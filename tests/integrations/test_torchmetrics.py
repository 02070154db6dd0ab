"""Any analyzer serves as a torchmetrics Metric: same table, added up across ranks, kept apart."""

import pandas as pd
import pytest
import torch
from torchmetrics import MetricCollection

from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.integrations.torchmetrics import AnalyzerMetric
from kdanalysis.losses import DKD, GDKD
from tests.analyzers.reference import logits, targets

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]
SIDES = (logits(0), logits(1), targets(2))


def share() -> TermShare:
    return TermShare({"dkd": DKD(), "gdkd": GDKD(3)})


def alone(rows: slice = slice(None)) -> pd.DataFrame:
    analyzer = share()
    analyzer.update(*(side[rows] for side in SIDES))
    return analyzer.table()


def test_the_table_is_the_analyzers():
    metric = AnalyzerMetric(share())
    for rows in (slice(0, 25), slice(25, 60)):
        metric.update(*(side[rows] for side in SIDES))
    pd.testing.assert_frame_equal(metric.table(), alone())
    assert metric.compute()["share"].shape == (5,)


def test_a_rank_sees_the_samples_of_the_others():
    here, there = AnalyzerMetric(share()), AnalyzerMetric(share())
    here.update(*(side[:25] for side in SIDES))
    there.update(*(side[25:] for side in SIDES))
    remote = iter([there.metric_state[name] for name in here._defaults])
    here.distributed_available_fn = lambda: True
    here.dist_sync_fn = lambda state, group=None: [state, next(remote)]
    pd.testing.assert_frame_equal(here.table(), alone())
    here.distributed_available_fn = lambda: False
    pd.testing.assert_frame_equal(here.table(), alone(slice(0, 25)))


def test_reset_starts_anew():
    metric = AnalyzerMetric(share())
    metric.update(*SIDES)
    metric.reset()
    metric.update(*(side[:25] for side in SIDES))
    pd.testing.assert_frame_equal(metric.table(), alone(slice(0, 25)))


def test_a_collection_keeps_other_configurations_apart():
    cards = MetricCollection(
        {
            "one": AnalyzerMetric(TopKMass(12, temperatures=(1.0,))),
            "two": AnalyzerMetric(TopKMass(12, temperatures=(2.0,))),
        }
    )
    for _ in range(2):
        cards.update(logits(1))
    for name, temperature in (("one", 1.0), ("two", 2.0)):
        own = TopKMass(12, temperatures=(temperature,))
        own.update(logits(1))
        own.update(logits(1))
        pd.testing.assert_frame_equal(cards[name].table(), own.table())


def test_lightning_logs_it(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch", exc_type=ImportError)

    class Student(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(12, 12).double()
            self.metric = AnalyzerMetric(share())

        def training_step(self, batch: list, index: int) -> torch.Tensor:
            student = self.layer(batch[0])
            self.metric.update(student.detach(), batch[1], batch[2])
            return student.square().mean()

        def on_train_epoch_end(self) -> None:
            self.log("share", self.metric.compute()["share"][0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.0)

    data = torch.utils.data.TensorDataset(*SIDES)
    settings = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False,
                                default_root_dir=tmp_path, **settings)  # fmt: skip
    student = Student()
    loader = torch.utils.data.DataLoader(data, batch_size=20)
    trainer.fit(student, loader)
    own = share()
    own.update(student.layer(SIDES[0]).detach(), *SIDES[1:])
    assert float(trainer.logged_metrics["share"]) == pytest.approx(own.compute()["share"][0].item())
