"""A-GEM (Chaudhry et al. 2019): a step must not raise the buffer's loss. Where the gradient g of the current task and
that of a draw from the buffer, r, point apart (g r < 0), g becomes g - (g r / r r) r. Both are of the weights that are
updated.

The buffer is the reservoir that all methods here share, so that it holds samples of the current task, too; the paper
adds to its memory when a task is over."""

from ... import torch_backend as backend
from ..state import Batch, State
from .base import Loss
from .naive import Naive


class AGEM(Naive):
    replays = 1

    def after_backward(self, state: State, batch: Batch, loss: Loss) -> None:
        if not state.replaying:
            return
        drawn, parameters = state.replay(), state.network.parameters()
        buffered = backend.functional().cross_entropy(state.network(drawn.x), drawn.y)
        reference = backend.torch().autograd.grad(buffered, parameters)
        state.restrict(reference, state.masks.updates)  # what g holds elsewhere is no part of the step
        along = sum((w.grad * r).sum() for w, r in zip(parameters, reference, strict=True))
        if along < 0:
            share = along / sum((r * r).sum() for r in reference)
            for w, r in zip(parameters, reference, strict=True):
                w.grad.sub_(share * r)
