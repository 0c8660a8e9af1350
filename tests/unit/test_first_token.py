"""The last layer computed for its first token alone: less work, the same logits and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from distilshift.encoder import layers_of, load_classifier
from distilshift.first_token import FAMILIES as FIRST_TOKEN_FAMILIES
from distilshift.first_token import first_token_only
from encoders import FAMILIES, make_checkpoint

IDS = torch.tensor([[2, 9, 10, 11, 12, 3], [2, 13, 3, 0, 0, 0], [2, 14, 15, 3, 0, 0]])
MASK = (IDS != 0).long()


def _states(output: Any) -> Tensor:
    """What a layer gives, which some families wrap in a tuple."""
    return output if isinstance(output, Tensor) else output[0]


def run(model: Any, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the gradient of each parameter."""
    model.zero_grad()
    logits = model(input_ids=IDS, attention_mask=mask).logits
    logits.square().sum().backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    return logits.detach(), gradients


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_stay_as_they_are(tmp_path: Path, family: str, attention: str, masked: bool):
    model = load_classifier(str(make_checkpoint(tmp_path / family, family)), 32).model.eval()
    model.set_attn_implementation(attention)
    widths: list[int] = []
    layers_of(model)[-1].register_forward_hook(lambda module, args, out: widths.append(_states(out).shape[1]))
    mask = MASK if masked else None
    whole, first = run(model, mask), None
    with first_token_only(model):
        first = run(model, mask)
    torch.testing.assert_close(first[0], whole[0], rtol=1e-5, atol=1e-6)
    for got, wanted in zip(first[1], whole[1], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    if family in FIRST_TOKEN_FAMILIES:
        assert widths == [6, 1]
    assert "forward" not in vars(layers_of(model)[-1])


def test_five_sixths_of_the_last_layer_are_saved(tmp_path: Path):
    model = load_classifier(str(make_checkpoint(tmp_path / "bert", "bert", layers=1)), 32).model.eval()
    counted = []
    for block in (lambda: first_token_only(model), torch.no_grad):
        with block(), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=IDS.repeat(1, 5), attention_mask=MASK.repeat(1, 5))
        counted.append(counter.get_total_flops())
    assert counted[0] < 0.4 * counted[1]


def test_it_ends_with_the_block_even_after_an_error(tmp_path: Path):
    model = load_classifier(str(make_checkpoint(tmp_path / "bert", "bert")), 32).model
    with pytest.raises(ZeroDivisionError), first_token_only(model):
        raise ZeroDivisionError
    assert model.base_model(input_ids=IDS).last_hidden_state.shape[1] == 6


def test_one_within_another_changes_nothing(tmp_path: Path):
    model = load_classifier(str(make_checkpoint(tmp_path / "bert", "bert")), 32).model
    with first_token_only(model):
        with first_token_only(model):
            pass
        assert model.base_model(input_ids=IDS).last_hidden_state.shape[1] == 1
