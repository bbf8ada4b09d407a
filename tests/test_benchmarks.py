"""Benchmarks: quick versions run and measure what they say; pages show their records. No times are asserted."""

import gc
import json
import re

import pytest
import torch
from torch import nn

import refconv
from benchmark_scripts import ROOT, figures, part, script
from refconv.exporting import ExportRecord
from refconv.sentences import capital

SMALL = ["--models", "test_efficientnet"]
METHODS = ("plain", "as released", "kernel space", "gradient space")


@pytest.fixture(scope="module", autouse=True)
def little_to_collect():
    """Let the collector of garbage pass over what other tests left: it would take a second each time."""
    gc.freeze()
    yield
    gc.unfreeze()


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_released_formula_equals_kernel_space_with_the_same_weights(groups):
    torch.manual_seed(0)
    released, ours = (nn.Sequential(nn.Conv2d(6, 12, 3, groups=groups, dtype=torch.float64)) for _ in range(2))
    ours.load_state_dict(released.state_dict())
    script("as_released").refocus_as_released(released)
    refconv.refocus(ours, scale="paper")
    weight = released[0].parametrizations.weight[0].weight
    refocus_weight = ours[0].parametrizations.weight[0].refocus_weight
    refocus_weight.data = weight.detach().reshape(refocus_weight.shape).clone()
    torch.testing.assert_close(released[0].weight, ours[0].weight, rtol=1e-12, atol=1e-12)
    refocus_weight.data = weight.detach().flip(-1).reshape(refocus_weight.shape)
    assert not torch.allclose(released[0].weight, ours[0].weight)
    assert not released[0].parametrizations.weight.original.requires_grad


def refocused_by_default(module):
    return isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)


def test_what_was_measured_beside_other_work_is_not_recorded(tmp_path, monkeypatch):
    lines_ = script("lines")
    counts = iter([(10.0, 100.0), (10.5, 101.0), (10.2, 101.0)])
    monkeypatch.setattr(lines_.Beside, "_counts", staticmethod(lambda: next(counts)))
    beside = lines_.Beside()
    found = beside.cores()
    assert found == 0.5
    with pytest.raises(SystemExit, match=r"not recorded: other processes kept 0.5 cores busy, and 0.3 is the most"):
        lines_.check_quiet(found)
    assert beside.cores() == pytest.approx(0.2)
    lines_.check_quiet(0.2)
    lines_.check_quiet(None)
    assert lines_.shared({"beside": 0.5, "load": 0.0, "threads": 1})
    assert not lines_.shared({"beside": 0.2, "load": 3.0, "threads": 1})


def test_step_time_runs_all_methods_and_both_spaces_train_alike(tmp_path):
    record = tmp_path / "steps.jsonl"
    arguments = [
        *SMALL,
        "--batch-size",
        "4",
        "--img-size",
        "32",
        "--repetitions",
        "2",
        "--loaded",
        "--record",
        str(record),
    ]
    script("step_time").main(arguments)
    (row,) = lines(record)
    assert tuple(row["seconds"]) == METHODS
    assert all(len(values) == 2 and min(values) > 0 for values in row["seconds"].values())
    losses = {method: torch.tensor(values) for method, values in row["losses"].items()}
    torch.testing.assert_close(losses["gradient space"], losses["kernel space"], rtol=1e-5, atol=0)
    assert not torch.allclose(losses["plain"][-1], losses["kernel space"][-1], rtol=1e-5, atol=0)
    assert losses["plain"][0] == losses["kernel space"][0]
    assert losses["plain"][0] != losses["as released"][0]
    assert row["bandwidth"] > 0
    assert row["refocused"] == 4 * sum(
        one.weight.numel() for one in script("timed_networks").create(SMALL[1]).modules() if refocused_by_default(one)
    )
    script("step_time").main(arguments)
    assert lines(record) == [row]
    script("step_time").main([*arguments, "--fresh"])
    assert len(lines(record)) == 1
    assert lines(record) != [row]
    script("step_time").main([*arguments, "--fused"])
    assert [one["setting"]["fused"] for one in lines(record)] == [False, True]


@pytest.fixture(scope="module")
def on_tiny_device(tmp_path_factory):
    """The benchmark for GPUs in a tiny setting on the CPU: its record, as if a GPU had made it."""
    record = tmp_path_factory.mktemp("gpu") / "gpu.jsonl"
    models = ["--models", "test_efficientnet", "resnet20", "--img-size", "32", "--batch-sizes", "2"]
    few = ["--repetitions", "2", "--copied", "100000", "--amp", "none", "--layouts", "last", "--compile", "off"]
    arguments = [*models, *few, "--device", "cpu", "--record", str(record)]
    script("gpu").main(arguments)
    return record, arguments


def test_gpu_benchmark_runs_all_methods_and_is_resumed(on_tiny_device, capsys):
    record, arguments = on_tiny_device
    rows = lines(record)
    assert [row["model"] for row in rows] == ["test_efficientnet", "resnet20"]
    for row in rows:
        assert tuple(row["seconds"]) == METHODS
        assert row["losses"]["gradient space"] == pytest.approx(row["losses"]["kernel space"], rel=1e-4)
        assert row["bandwidth"] > 0
        assert min(row["rewriting"]["seconds"]) > 0
    # 432 of the stem, then three stages: gradients, bases and results of 4 bytes
    kernels = 432 + 6 * 16 * 16 * 9 + (16 + 5 * 32) * 32 * 9 + (32 + 5 * 64) * 64 * 9
    assert rows[1]["rewriting"]["bytes"] == 3 * 4 * kernels
    assert rows[1]["rewriting"]["layers"] == 19
    script("gpu").main(arguments)
    assert lines(record) == rows
    assert "0 of 2 pieces are left" in capsys.readouterr().out
    script("gpu").main([*arguments, "--minutes", "0", "--fresh"])
    assert lines(record) == rows
    assert "2 of 2 pieces are left: run the command again" in capsys.readouterr().out


def test_gpu_rows_are_shown_and_judged_and_those_of_a_cpu_are_not(on_tiny_device):
    gpu, goals = script("gpu"), script("goals")
    rows = lines(on_tiny_device[0])
    assert gpu.shown(rows) == gpu.NOT_MEASURED
    row = {**rows[1], "setting": {**rows[1]["setting"], "device": "cuda", "batch_size": 128, "amp": "bfloat16"}}
    row |= {
        "bandwidth": 1e9,
        "rewriting": {"seconds": [0.004, 0.002, 0.003], "in tiles": [0.005], "bytes": 1_000_000, "layers": 19},
    }
    row["seconds"] = {
        "plain": [0.1, 0.2],
        "as released": [0.2, 0.4],
        "kernel space": [0.3, 0.6],
        "gradient space": [0.11, 0.22],
    }
    failed = {"model": "resnet18", "setting": row["setting"], "out_of_memory": True}
    text = gpu.shown([*rows, row, failed])
    cells = "resnet20 | 128 | bfloat16, channels last | 150.0 | 2.000 | 3.000 | 1.100 | 3.000 | 5.000 | 1.000 | 3.0"
    assert cells in text
    assert "resnet18" not in text
    _, layers, _, sent = script("performance").records()
    judged = goals.goals([row, failed], layers.rows, [], sent.rows)
    assert "at most 1.02 of plain | 1.10 | missed by 1 of 1: resnet20 (bfloat16, channels last) 1.10 |" in judged


def test_transform_measures_each_route_of_each_layer(tmp_path):
    record = tmp_path / "sites.jsonl"
    transform = script("transform")
    transform.main(["--quick", "--repetitions", "1", "--record", str(record)])
    rows = lines(record)
    assert [row["site"] for row in rows] == [[32, 32, 3], [64, 64, 3], [128, 128, 3], [64, 1, 3]]
    assert all(tuple(row["seconds"]) == METHODS[1:] for row in rows)


def test_growth_is_the_exponent_of_a_power_law():
    transform = script("transform")
    assert transform.growth([(x, 5 * x**2) for x in (32, 64, 2048)]) == pytest.approx(2)
    assert transform.growth([(x, 0.1 * x**0.7) for x in (32, 64, 2048)]) == pytest.approx(0.7)
    rows = [{"site": [c, c, 3], "seconds": {"plain": max(c, 256) ** 2}} for c in (64, 128, 256, 512)]
    assert transform.exponents(rows, 3, "plain", least=256) == pytest.approx(2)
    assert transform.exponents(rows, 3, "plain") < 1


def test_memory_counts_momentum_and_bases_and_a_peak_above_both(tmp_path):
    import timm

    record = tmp_path / "memory.jsonl"
    script("memory").main([*SMALL, "--batch-size", "2", "--img-size", "32", "--record", str(record)])
    found = lines(record)[0]["bytes"]
    model = timm.create_model("test_efficientnet")
    plan = refconv.plan(model)
    trained = 4 * sum(parameter.numel() for parameter in model.parameters())
    bases = 4 * sum(layer.module.weight.numel() for layer in refconv.find_layers(model) if max(layer.kernel_size) > 1)
    assert found["plain"]["trained"] == found["gradient space"]["trained"] == trained
    assert found["plain"]["state: momentum_buffer"] == found["gradient space"]["state: momentum_buffer"] == trained
    assert found["gradient space"]["state: base"] == bases
    assert "state: base" not in found["plain"]
    assert found["kernel space"]["trained"] == trained - bases + 4 * plan.extra_parameters
    for counted in found.values():
        assert counted["peak"] > counted["model"] + counted["gradients"] + counted["state: momentum_buffer"]
    assert found["kernel space"]["peak"] > found["plain"]["peak"]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_communication_counts_what_is_trained(processes, tmp_path, monkeypatch):
    record, communication = tmp_path / "sent.jsonl", script("communication")
    if processes > 1:
        monkeypatch.syspath_prepend(ROOT / "benchmarks")  # where the processes that it starts find it
        communication.main([*SMALL, "--record", str(record)])
    else:  # here, where nothing has to be imported anew; the count does not depend on the number of processes
        monkeypatch.setattr(communication, "PROCESSES", 1)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
        communication.work(0, SMALL[1:], str(tmp_path / "meeting"), record, False)
    (row,) = lines(record)
    assert row["bytes"]["gradient space"] == row["bytes"]["plain"] == 4 * row["shipped"]
    assert row["bytes"]["kernel space"] == row["bytes"]["as released"] > row["bytes"]["plain"]


def test_goals_say_by_how_much_they_are_missed():
    judged = script("goals").judged
    assert judged("g", {"a": 1.031, "b": 1.0}, 1.03) == ["g", "1.00 to 1.03", "met"]
    assert judged("g", {"a": 1.04, "b": 1.0}, 1.03) == ["g", "1.00 to 1.04", "missed by 1 of 2: a 1.04"]
    assert judged("g", {"a": 1.5, "b": 2.5}, 2.0, at_least=True)[2] == "missed by 1 of 2: a 1.50"
    assert judged("g", {}, 1.0)[1:] == ["not measured", "open"]


def test_ratios_are_of_paired_steps():
    ratios = script("ratios")
    seconds = {"plain": [1.0, 2.0, 4.0], "as released": [2.0, 4.0, 8.0], "kernel space": [1.5, 3.0, 6.0]}
    row = {"seconds": seconds}
    assert ratios.ratio(row, "as released") == (2, 2, 2)
    assert ratios.extra(row, "kernel space") == 1
    assert ratios.less_extra(row) == 2


def test_cost_at_scale_follows_its_formula():
    scale = script("scale")
    assumed = scale.Assumptions(batch_size=100, img_size=20, epochs={}, bus=1.0, overlap=0.5)
    setting = {"batch_size": 10, "img_size": 20}
    seconds = {"plain": [1.0], "as released": [3.0], "kernel space": [2.0], "gradient space": [1.0]}
    times = {"setting": setting, "seconds": {method: values * 3 for method, values in seconds.items()}}
    sent = {"bytes": dict.fromkeys(METHODS, 1e9)}
    found = scale.cost(times, sent, speed=100, images=7200, epochs=4, gpus=4, assumed=assumed)
    # 72 steps of 1 s of compute and, with half of it hidden, 2 * 3/4 * 1 s / 2 of communication
    assert found["plain"] == pytest.approx(72 * 1.75 / 3600)
    # twice as much extra work, in a step of ten times the images: a fifth
    assert found["as released"] == pytest.approx(72 * 1.95 / 3600)
    assert found["gradient space"] == found["plain"]


def test_pages_show_their_records():
    performance, scale = script("performance"), script("scale")
    shown = performance.parts(*performance.records())
    for name, text in shown.items():
        on_page = part("docs/performance.md", name)
        assert on_page == text or figures(on_page) == figures(text)
    times, _, _, sent = performance.records()
    assumed = scale.Assumptions(
        batch_size=128, img_size=224, epochs={"ImageNet-1k": 100, "ImageNet-21k": 30}, bus=25.0, overlap=0.0
    )
    hours, inputs = scale.hours(times, sent, scale.PUBLISHED, assumed), scale.inputs(scale.PUBLISHED, assumed)
    assert figures(part("docs/scale.md", "hours")) == figures(hours)
    assert figures(part("docs/scale.md", "assumptions")) == figures(inputs)


def test_plots_are_the_same_for_the_same_records(tmp_path):
    figures, performance = script("figures"), script("performance")
    rows = performance.records()[1].rows
    for name in ("a.svg", "b.svg"):
        figures.plot_growth(rows, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert drawn == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert "gradient space, 7 x 7" in drawn


def test_roughness_of_constant_checkered_and_random_patterns():
    roughness = script("spectrum").roughness
    checkered = torch.tensor([1.0, -1, 1, -1, 1, -1, 1, -1, 1])
    noise = torch.randn(20000, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(roughness(torch.stack([torch.ones(9), checkered]), (3, 3)), torch.tensor([0.0, 2.0]))
    assert roughness(noise, (3, 3)).mean() == pytest.approx(1, abs=0.02)
    assert roughness(checkered, (9, 1)) == pytest.approx(2)


def test_spectrum_of_a_slice_alone_has_the_rank_of_its_map():
    spectrum = script("spectrum")
    network = spectrum.dense_convolutions(
        [{"a": torch.randn(8, 1, 16), "b": torch.randn(8, 4, 3, 3), "c": torch.ones(8)}]
    )
    long, square = spectrum.measure("drawn", network)
    assert (long["kernel"], square["kernel"]) == ([16], [3, 3])
    assert long["trained"]["rank"] == [3, 3, 3]
    assert square["trained"]["rank"] == [9, 9, 9]
    assert square["trained"]["effective_rank"][1] < 9
    assert sum(long["random"]["eigenvalues"][1]) == pytest.approx(16, rel=0.1)


def test_page_shows_the_recorded_spectrum():
    spectrum = script("spectrum")
    rows = json.loads(spectrum.RECORD.read_text(encoding="utf-8"))["rows"]
    assert figures(part("docs/math.md", "spectrum")) == figures(spectrum.page(rows))


def test_page_shows_what_settings_cost():
    relations = script("relations")
    record = json.loads(relations.RECORD.read_text(encoding="utf-8"))
    assert part("docs/settings.md", "costs") == relations.page(record)
    assert {len(row["ratios"]) for row in record["rows"]} == {len(relations.GRADIENT) + len(relations.KERNEL)}


def test_page_of_exports_shows_their_records():
    module = script("export")
    content = json.loads(module.RECORD.read_text(encoding="utf-8"))
    assert figures(part("docs/export.md", "export")) == figures(module.table(content))
    assert content["unmerged"]["operations"] > sum(content["files"][0]["record"]["operations"].values())
    for entry in content["files"]:
        record = ExportRecord.from_dict(entry["record"])
        assert record.same_graph
        assert record.same_outputs or record.precision == "int8"


def test_page_shows_how_long_help_takes():
    module = script("help")
    record = json.loads(module.RECORD.read_text(encoding="utf-8"))
    assert set(record["seconds"]) == set(module.STARTS)
    assert figures(part("docs/performance.md", "help")) == figures(module.shown(record))
    doubled = {**record, "seconds": {"python": [1.0, 3.0], "torch": [2.0, 9.0]}}
    assert "| torch | 2.00 | 5.50 | 2.5 |" in module.shown(doubled)


def test_page_of_reports_says_what_the_committed_reports_say():
    known = json.loads((ROOT / "benchmarks" / "reports.json").read_text(encoding="utf-8"))
    text = part("docs/reports.md", "reports")
    for name, entry in known.items():
        page = (ROOT / "docs" / "reports" / f"{name}.html").read_text(encoding="utf-8")
        assert entry["size"] == len(page.encode()) < 5_000_000
        assert f"(reports/{name}.png)" in text
        for headline in entry["headlines"].values():
            assert headline in text
            shown = capital(headline)
            assert re.sub(r"\s", " ", shown) in re.sub(r"\s", " ", page)
        for section in entry["sections"]:
            assert f'<section class="measure" id="{section}"' in page
    assert {"mobilenet", "detector"} == set(known)
