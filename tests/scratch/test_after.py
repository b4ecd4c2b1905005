"""Checkpoints and decoding.

Oracles: the same run without an interruption, to the bit; probabilities worked out by hand.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch

from weightless.scratch import AdamW, TransformerLM, cross_entropy, decode, load_checkpoint, nucleus, save_checkpoint

V = 11


def begun(seed: int = 0, n_layers: int = 1):
    torch.manual_seed(seed)
    model = TransformerLM(V, 6, 8, n_layers, 2, 16)
    return model, AdamW(model.parameters(), lr=1e-2)


def steps(model, optimizer, first: int, last: int) -> None:
    for t in range(first, last):
        ids = torch.randint(V, (2, 7), generator=torch.Generator().manual_seed(t))
        optimizer.zero_grad()
        cross_entropy(model(ids[:, :-1]), ids[:, 1:]).backward()
        optimizer.step()


@pytest.mark.parametrize("place", ["text", "path", "buffer", "file"])
def test_a_resumed_run_has_the_same_bits(tmp_path, place):
    whole, optimizer = begun()
    steps(whole, optimizer, 0, 8)
    first, optimizer = begun()
    steps(first, optimizer, 0, 5)
    path = tmp_path / "run.pt"
    second, other = begun(seed=1)
    if place == "file":
        with path.open("w+b") as out:
            save_checkpoint(first, optimizer, 5, out)
            out.seek(0)
            iteration = load_checkpoint(out, second, other)
    else:
        out = {"text": str(path), "path": path, "buffer": io.BytesIO()}[place]
        save_checkpoint(first, optimizer, 5, out)
        if isinstance(out, io.BytesIO):
            out.seek(0)
        iteration = load_checkpoint(out, second, other)
    assert iteration == 5
    steps(second, other, iteration, 8)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))
    assert [p.name for p in tmp_path.iterdir()] == (["run.pt"] if place != "buffer" else [])


def test_a_kill_while_writing_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    model, optimizer = begun()
    save_checkpoint(model, optimizer, 3, tmp_path / "run.pt")
    whole = (tmp_path / "run.pt").read_bytes()

    def killed(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(model, optimizer, 4, tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == whole


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    model, optimizer = begun()
    torch.save({"model": Hostile(tmp_path / "ran"), "optimizer": {}, "iteration": 0}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="read safely"):
        load_checkpoint(tmp_path / "run.pt", model, optimizer)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_checkpoint_of_this_model_changes_nothing(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(*begun(n_layers=2), 3, path)
    model, optimizer = begun()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    with pytest.raises(ValueError, match="another model: 'layers.1"):
        load_checkpoint(path, model, optimizer)
    other = TransformerLM(V, 6, 8, 1, 2, 24)
    save_checkpoint(other, AdamW(other.parameters()), 3, path)
    with pytest.raises(ValueError, match="has shape"):
        load_checkpoint(path, model, optimizer)
    for wrong in ({"model": {}}, [1], {"model": {}, "optimizer": {}, "iteration": "3"}):
        torch.save(wrong, path)
        with pytest.raises(ValueError, match="should hold iteration, model, optimizer"):
            load_checkpoint(path, model, optimizer)
    for content in (b"", b"not a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="read safely"):
            load_checkpoint(path, model, optimizer)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "absent.pt", model, optimizer)
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())


class Fixed(TransformerLM):
    """The same logits at every position, and a record of the windows it was asked about."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__(len(logits), 4, 2, 1, 1, 2)
        self.logits, self.windows = torch.tensor(logits), []

    def forward(self, token_ids, token_positions=None):
        self.windows.append(token_ids.tolist())
        return self.logits.expand(len(token_ids), -1)


def test_decode_greedily_sees_the_last_window():
    model = Fixed([0.0, 3.0, 1.0])
    assert decode(model, [0, 2, 2], 3, temperature=0) == [1, 1, 1]
    assert model.windows == [[0, 2, 2], [0, 2, 2, 1], [2, 2, 1, 1]]
    assert decode(model, torch.tensor([0]), 3, temperature=1e-30) == [1, 1, 1]
    assert decode(model, [0], 0) == []


def test_decode_stops_at_the_end_of_text():
    assert decode(Fixed([0.0, 3.0]), [0], 5, temperature=0, end_id=1) == []
    assert decode(Fixed([0.0, 3.0]), [1], 2, temperature=0, end_id=0) == [1, 1]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.0, 1.0), (0.5, 1.0), (1.0, 0.8), (1.0, 0.5)])
def test_decode_draws_by_temperature_and_top_p(temperature, top_p):
    """3,000 draws: each share within 5 standard deviations of what the definition says."""
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    expected = p ** (1 / temperature)
    expected = expected / expected.sum()
    if top_p < 1:
        expected = torch.where(torch.tensor([True, top_p > 0.5, False, False]), expected, 0.0)
        expected = expected / expected.sum()
    drawn = decode(Fixed(p.log().tolist()), [0], 3000, temperature, top_p, generator=torch.Generator().manual_seed(4))
    for token, share in enumerate(expected.tolist()):
        near = 5 * math.sqrt(share * (1 - share) / 3000)
        assert abs(drawn.count(token) / 3000 - share) <= near


def test_decode_repeats_with_a_generator_and_refuses():
    model = Fixed([0.0, 0.1, 0.2])
    first, second = (decode(model, [0], 20, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    assert first == second and len(set(first)) > 1
    for wrong in ({"prompt": []}, {"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_p": 1.1}):
        with pytest.raises(ValueError, match="prompt|temperature"):
            decode(model, **({"prompt": [0], "max_new_tokens": 1} | wrong))


def test_nucleus():
    """The fewest tokens that have p or more, ties by id, rows by themselves, one at least."""
    p = torch.tensor([[0.2, 0.4, 0.4], [0.1, 0.1, 0.8]])
    got = nucleus(p, 0.4)
    torch.testing.assert_close(got, torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(nucleus(p, 0.7), torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(nucleus(p, 1e-9).amax(-1), torch.ones(2))
    torch.testing.assert_close(nucleus(p, 1.0), p)
