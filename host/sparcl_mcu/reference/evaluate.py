"""What a network knows: class-il (arg-max over all classes) and task-il (arg-max over the task's own).

Where every task has the same classes, as in domain-il, the two are the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import torch_backend as backend
from .inputs import Inputs
from .network import Network

CHUNK = 512  # samples at a time


class Accuracy(NamedTuple):
    """Fractions of a task's samples."""

    class_il: float
    task_il: float


def accuracies(network: Network, inputs: Inputs, raw: Any, y: Any, classes: tuple[int, ...]) -> Accuracy:
    """Of one task's samples, with running statistics. raw: (n, *sample) as the data set has them; y: int64 (n,)."""
    torch = backend.torch()
    own = torch.tensor(sorted(classes), device=y.device)
    all_right = own_right = 0
    network.module.eval()
    with torch.no_grad():
        for x, labels in zip(raw.split(CHUNK), y.split(CHUNK), strict=True):
            logits = network(inputs(x))
            all_right += int((logits.argmax(dim=1) == labels).sum())
            own_right += int((own[logits[:, own].argmax(dim=1)] == labels).sum())
    network.module.train()
    return Accuracy(all_right / len(y), own_right / len(y))
