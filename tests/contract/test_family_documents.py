"""Documents packed into a row with `document_BT` compute what they compute alone; padding costs and teaches nothing.

Oracle: the same documents one by one, through the same family.  Tolerance 1e-5 on losses of a few nats: matrix products
of another shape add in another order.  A cache in bf16 or int8 may in rare cases round such a difference to the next
code, which shows at 1e-3.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contract.cases import REMEMBERED, TRAINED, TURNED, Bench, bench

from weightless.data.batches.packing import IGNORED
from weightless.layers.layer import Record


@pytest.fixture
def b(request) -> Bench:
    return bench(*request.param)


over_trained = pytest.mark.parametrize("b", TRAINED, indirect=True, ids=["-".join(case) for case in TRAINED])


def tolerance(b: Bench) -> float:
    if b.rounds_activations:
        return TURNED
    return 1e-5 if {t.format for t in b.program.tensors if t.component in REMEMBERED} == {"f32"} else 1e-3


def lengths_of(n: int) -> list[int]:
    """Five documents, one of a single token, and padding at the end."""
    cuts = np.array([0, 1, 1 + n // 4, n // 2 + 1, n - 3, n])
    return np.diff(cuts).tolist()


def packed(b: Bench) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One row: its last document is padding."""
    x, y = (z.clone() for z in b.batch)
    lengths = lengths_of(x.shape[1])
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    y[:, -lengths[-1] :] = IGNORED
    return x, y, document


@over_trained
def test_a_packed_row_has_the_losses_of_its_documents_alone(b):
    model, p, (x, y, document) = b.family.Model(b.config), b.rounded(), packed(b)
    together = model.losses(p, x, y, document)
    edges = np.cumsum([0, *lengths_of(x.shape[1])])
    alone = [model.losses(p, x[:, a:z], y[:, a:z]) for a, z in zip(edges[:-1], edges[1:], strict=True)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=0, atol=tolerance(b))
    assert torch.all(together[y == IGNORED] == 0)
    apart = model.losses(p, x, y)  # it is a difference: unmasked, later documents see what came before
    assert (apart - together)[0, edges[1] : edges[4]].abs().max() > 1e-3


@over_trained
def test_rows_of_a_batch_have_documents_of_their_own(b):
    model, p, (x, y, document) = b.family.Model(b.config), b.rounded(), packed(b)
    other = torch.zeros_like(document)
    both = model.losses(p, torch.cat([x, x]), torch.cat([y, y]), torch.cat([document, other]))
    torch.testing.assert_close(both[:1], model.losses(p, x, y, document), rtol=0, atol=tolerance(b))
    torch.testing.assert_close(both[1:], model.losses(p, x, y), rtol=0, atol=tolerance(b))


@over_trained
def test_gradients_do_not_cross_documents(b, monkeypatch):
    """d nats of document k / d (rows looked up in document j) is exactly 0 for j != k, and not for j = k."""
    looked_up, embedding = [], F.embedding

    def recorded(*args, **kwargs):
        looked_up.append(embedding(*args, **kwargs).detach().requires_grad_())
        return looked_up[-1]

    monkeypatch.setattr(F, "embedding", recorded)
    x, y, document = packed(b)
    nats_T = b.family.Model(b.config).losses(b.rounded(), x, y, document, record=Record())[0]
    for k in range(int(document.max())):
        inside_T = document[0] == k
        for gradient_BTD in torch.autograd.grad(nats_T[inside_T].sum(), looked_up, retain_graph=True):
            size_T = gradient_BTD[0].abs().sum(-1)
            assert torch.all(size_T[~inside_T] == 0) and torch.all(size_T[inside_T] > 0)


@over_trained
def test_other_documents_change_nothing(b):
    """Also the addresses that are computed from tokens.  1e-5, because other rows share an expert's product, which adds
    in another order then, and in yet another one with several threads; what leaks moves nats by thousandths."""
    model, p, (x, y, document) = b.family.Model(b.config), b.rounded(), packed(b)
    before, changed = model.losses(p, x, y, document), x.clone()
    k = 3
    changed[document != k] = (changed[document != k] + 17) % b.config.vocab_size
    after = model.losses(p, changed, y, document)
    torch.testing.assert_close(after[document == k], before[document == k], rtol=0, atol=1e-5)


@over_trained
def test_ignored_targets_teach_nothing(b):
    """Oracle: the gradient of the sum over the counted positions, picked out of a full computation."""
    model, (x, y) = b.family.Model(b.config), b.batch
    hidden = y.clone()
    hidden[:, ::3] = IGNORED
    gradients = []
    for targets in (hidden, y):
        p = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in b.rounded().items()}
        nats = model.losses(p, x, targets)
        nats[hidden != IGNORED].sum().backward()
        gradients.append({n: t.grad.to_dense() for n, t in p.items() if t.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-4)
    assert model.losses(p, x, torch.full_like(y, IGNORED)).abs().max() == 0
