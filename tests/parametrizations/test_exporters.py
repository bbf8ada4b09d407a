"""A refocused model is refused wherever torch exports or traces it; compiling and merging stay possible."""

import warnings

import pytest
import torch

import refconv
from networks import EveryKind, randomise

REFUSAL = "the model is refocused, and an exported file would compute its kernels in each run"


def exported(model, batch):
    torch.export.export(model, (batch,))


def exported_strictly(model, batch):
    torch.export.export(model, (batch,), strict=True)


def written_as_onnx(model, batch):
    torch.onnx.export(model, (batch,), dynamo=True, verbose=False)


def traced(model, batch):
    torch.jit.trace(model, batch)


def scripted(model, batch):
    torch.jit.script(model)


@pytest.mark.parametrize("call", [exported, exported_strictly, written_as_onnx, traced, scripted])
def test_torchs_own_exporters_refuse_a_refocused_model_and_take_the_merged_one(call):
    model, batch = EveryKind().eval(), torch.randn(2, 3, 32, 32)
    refconv.refocus(model)
    randomise(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own, about successors of its exporters
        with pytest.raises(Exception) as raised:  # each wraps it in an error of its own
            call(model, batch)
        messages, error = [], raised.value
        while error is not None:
            messages.append(str(error))
            error = error.__cause__ or error.__context__
        assert any(REFUSAL in message for message in messages)
        call(refconv.merged(model), batch)


def test_a_refocused_model_still_compiles():
    model, batch = EveryKind().eval(), torch.randn(2, 3, 32, 32)
    refconv.refocus(model)
    randomise(model)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(batch), model(batch))
