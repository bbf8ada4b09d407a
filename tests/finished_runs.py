"""Folders of finished runs, without training: for tests of what reads them."""

from refconv.engine.run_record import RunRecord
from refconv.surgery import merged, verify
from refconv.surgery.refocusing import transformed
from run_checkpoints import save_run


def finished_run(folder, recipe):
    """Write a run folder with a record and return its plain model."""
    model = save_run(folder, recipe)
    plain = merged(model) if any(True for _ in transformed(model)) else model
    space = "kernel" if recipe.method == "refocus" else None
    RunRecord(
        model=recipe.model, data=recipe.data, method=recipe.method, seed=recipe.seed, top1=0.5, top5=0.9, loss=1.5,
        test_samples=359, train_loss=1.0, validation=(), epochs=1, steps=5, batch_size=128, samples_seen=640,
        parameters_trained=100, parameters_shipped=sum(value.numel() for value in plain.parameters()),
        extra_parameters=0, sites=5, seconds=1.0, step_ms=1.0, processes=1, hardware="a CPU", versions={},
        command="refconv train", certificate=verify(model, plain), space=space,
    ).write(folder / "record.json")  # fmt: skip
    return plain
