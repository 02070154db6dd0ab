"""Gram matrices of 4 terms in networks whose parameters are many: time and memory of the probe.

    PYTHONPATH=scripts python -m measures.wide linear

prints the peak memory above the graph, in gradients of the largest layer, in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from kdanalysis.core.parameters import layer_grams
from kdanalysis.networks.names import find_layers
from measures.timing import alternate

TERMS, STATUS = 4, Path("/proc/self/status")


class Wide:
    """A network with a graph, and gradients of 4 terms in its logits."""

    def __init__(self, kind: str, device: torch.device) -> None:
        torch.manual_seed(0)
        network, shape = KINDS[kind]()
        self.network = network.to(device)
        self.logits = self.network(torch.randn(shape, device=device))
        self.gradients = torch.randn(TERMS, *self.logits.shape, device=device)
        layers = find_layers(self.network, "*")
        self.layers = {name: [*layer.learning().values()] for name, layer in layers.items()}

    def grams(self) -> dict[str, Tensor]:
        """Return what the probe takes."""
        return layer_grams(self.logits, self.gradients, self.layers)

    def passes(self) -> None:
        """Run a backward pass a term, and do nothing with its gradients."""
        for gradient in self.gradients:
            for p in self.network.parameters():
                p.grad = None
            self.logits.backward(gradient / len(gradient), retain_graph=True)


def linear() -> tuple[nn.Module, tuple[int, ...]]:
    """Four linear layers 2048 wide, 64 samples."""
    layers = [m for _ in range(4) for m in (nn.Linear(2048, 2048), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(2048, 100)), (64, 2048)


def convolutional() -> tuple[nn.Module, tuple[int, ...]]:
    """Four convolutions of 512 channels on maps of 4 x 4, 16 samples."""
    layers = [nn.Conv2d(3, 512, 3, padding=1), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(512, 512, 3, padding=1), nn.BatchNorm2d(512), nn.ReLU()]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100))
    return nn.Sequential(*layers, *head), (16, 3, 4, 4)


KINDS = {"linear": linear, "convolutional": convolutional}


def wide(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Time against the backward passes alone; memory in gradients of the largest layer."""
    results = {}
    for kind in KINDS:
        one = Wide(kind, device)
        results[f"4 terms, wide {kind}"] = alternate(one.grams, one.passes, device, repetitions)
        if device.type == "cuda":
            results[f"memory, wide {kind}"] = {"ours_gradients": gradients_above(kind, device)}
        elif STATUS.exists():
            call = [sys.executable, "-m", "measures.wide", kind]
            path = os.pathsep.join(
                [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
            )
            env = os.environ | {"PYTHONPATH": path, "MALLOC_MMAP_THRESHOLD_": "65536"}
            done = subprocess.run(call, capture_output=True, text=True, check=True, env=env)
            results[f"memory, wide {kind}"] = {"ours_gradients": float(done.stdout)}
    return results


def gradients_above(kind: str, device: torch.device) -> float:
    """Return the peak of memory above the graph, in gradients of the largest layer.

    On a CPU, Linux counts resident pages; with a low MALLOC_MMAP_THRESHOLD_ freed tensors are none.
    """
    one = Wide(kind, device)
    torch.autograd.grad(
        one.logits, [*one.network.parameters()][-1:], one.gradients[0], retain_graph=True
    )
    largest = max(sum(p.numel() for p in layer) for layer in one.layers.values())
    before = memory_of(device, reset=True)
    one.grams()
    return (memory_of(device) - before) / (4 * largest)


def memory_of(device: torch.device, reset: bool = False) -> int:
    """Return the peak of bytes in use since it was last reset, or reset it and return those now."""
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() if reset else torch.cuda.max_memory_allocated()
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(found["VmRSS" if reset else "VmHWM"].split()[0])


if __name__ == "__main__":
    print(gradients_above(sys.argv[1], torch.device("cpu")))
