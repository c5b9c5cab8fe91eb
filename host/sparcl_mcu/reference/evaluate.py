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
    own = backend.torch().tensor(sorted(classes), device=y.device)
    logits = responses(network, inputs, raw)
    all_right = int((logits.argmax(dim=1) == y).sum())
    own_right = int((own[logits[:, own].argmax(dim=1)] == y).sum())
    return Accuracy(all_right / len(y), own_right / len(y))


def responses(network: Network, inputs: Inputs, raw: Any) -> Any:
    """Logits of samples, float32 (n, classes), with running statistics. raw: (n, *sample) as the data set has them."""
    torch = backend.torch()
    network.module.eval()
    with torch.no_grad():
        logits = torch.cat([network(inputs(x)) for x in raw.split(CHUNK)])
    network.module.train()
    return logits
