"""A short training, recorded with all logits or with the K largest classes of every row."""

import torch

import kdanalysis as kd

CLASSES = 200
LOSS = kd.Sum(kd.CrossEntropy(), kd.GDKD(5, temperature=2.0))


def train(path, keep=(), loss=LOSS, steps=4, classes=CLASSES, **store):
    torch.manual_seed(0)
    student, teacher = torch.nn.Linear(12, classes), torch.nn.Linear(12, classes)
    with torch.no_grad():
        student.weight *= 4
        teacher.weight *= 12
    sides = {"student": student, "teacher": teacher}
    store = kd.Store(**store)
    with kd.Recorder(path, loss, **sides, keep=keep, schedule=kd.every(2), store=store) as recorder:
        for step in range(steps):
            seed = torch.Generator().manual_seed(step)
            x = torch.randn(24, 12, generator=seed)
            target = torch.randint(0, classes, (24,), generator=seed)
            if not loss.needs_target:
                target[:5] = -100
            with torch.no_grad():
                teacher(x)
            student(x)
            recorder.epoch = step // 2
            recorder.loss(target).backward()
            torch.optim.SGD(student.parameters(), 0.5).step()
    return path
