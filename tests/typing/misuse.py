"""Mistakes that type checkers report, each on a line that says what; see ``tests/test_typing.py``.

It is never run.
"""

import torch

import kdanalysis as kd
from kdanalysis import Recoder  # wrong: attr-defined

LOSS = kd.GDKD(k=5, weights=(1, 2, 8))
LOGITS = torch.randn(4, 10)


class Distance(kd.Analyzer):
    """An analyzer of one column, which is no tuple."""

    needs = "teacher_logits"  # wrong: assignment


def losses() -> None:
    kd.KD(temperature="4")  # wrong: arg-type
    kd.KD(temprature=4)  # wrong: call-arg
    kd.Sum(kd.KD(), "dkd")  # wrong: arg-type
    kd.GDKD4()  # wrong: attr-defined
    LOSS(LOGITS, LOGITS, 3)  # wrong: arg-type
    LOSS.gradients(LOGITS, LOGITS, [0, 1, 2, 3])  # wrong: arg-type
    LOSS.gradient(LOGITS, LOGITS, LOGITS)  # wrong: operator


def recording() -> None:
    kd.Recorder("run", schedule=50)  # wrong: arg-type
    kd.Recorder("run", LOSS, studnet=None)  # wrong: call-arg
    with kd.Recorder("run", LOSS) as recorder:
        recorder.observes(LOGITS)  # wrong: attr-defined
        recorder.loss(3).backward()  # wrong: arg-type
        Recoder(recorder)


def studies() -> None:
    kd.open("run").tabel("share")  # wrong: attr-defined
    study = kd.diagnose("logits.npz", temperatures=4)  # wrong: arg-type
    study.save()  # wrong: call-arg
    study.readings["mass"].sentnce.strip()  # wrong: attr-defined
    kd.compare("logits.npz", losses=3)  # wrong: arg-type
    kd.analyzers[3]  # wrong: index
    kd.analyzers["mass"].titel.strip()  # wrong: attr-defined
    len(kd.sweep(LOGITS, LOGITS, ks=4))  # wrong: arg-type
