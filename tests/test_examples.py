"""Every example of the README and of docs runs: each Python block, and each ``refconv`` command of each shell block.

They run as they stand but for the tables below, which put small networks, images and studies in the place of large ones
and end commands with flags that make them quick. What is not run is in ``NOT_RUN``, with the reason. A block or a
program that no table knows fails. Pages about other programs are run elsewhere, see ``integration_pages.py``.
"""

import copy
import dataclasses
import json
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import timm
import tomli_w
import torch
import typer
from PIL import Image
from timm.models import _registry

import integration_pages
import refconv
import timm_networks  # noqa: F401  # lets timm know its network
from ready_processes import run_script
from refconv.analysis import Redundancy
from refconv.cli import main
from refconv.cli.app import app
from refconv.data.preprocessing import resolve
from refconv.exporting import timing
from refconv.models.model_input import of_name
from refconv.models.networks import resnet_small
from refconv.parametrizations import TRANSFORMS
from refconv.studies import read_study
from small_studies import changed

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *(
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if path.parent != integration_pages.PAGES
    ),
)

INSTEAD = {
    "mobilenetv3_large_100": "one_block",
    "mobilenetv3_small_050": "test_resnet",
    "resnet18": "test_efficientnet",
    "folder:products": "folder:cifar",
    "folder:other-products": "folder:cifar",
    "folder:cats": "folder:photos",
    "photo.jpg": "cifar/test/cat/0001.jpg",
    "recipes/folder-finetune.toml": str(ROOT / "recipes" / "folder-finetune.toml"),
    "recipes/fashion-mnist.toml": str(ROOT / "recipes" / "fashion-mnist.toml"),
    "recipes/paper-imagenet.toml": str(ROOT / "recipes" / "paper-imagenet.toml"),
    "folder:PATH": "folder:cifar",
    "folder:/data/imagenet": "folder:cifar",
    "IMAGES": "cifar/test/cat",
    "photographs": "images:cifar",
    "studies/digits.toml": "study.toml",
    "studies/main.toml": "study.toml",
    "resnet/*": "mobilenet/*",
    "A": "runs/plain",
    "B": "runs/refocus",
    "D": "folder:cifar",
    "FOLDER": "analysis",
}
"""Words of commands, and what stands for them here; ``laid_out`` makes the files."""

ADDED = (
    ("*", "train", "--epochs 1 --warmup-epochs 0 --batch-size 4 --workers 0 --device cpu"),
    ("*", "eval", "--workers 0"),
    *(
        (page, word, flags)
        for page in ("README.md", "docs/command-line.md")
        for word, flags in (
            ("train", "--img-size 32 --no-amp"),
            ("eval", "--device cpu"),
            ("predict", "--device cpu"),
            ("report", "--only movement --device cpu"),
            ("compare", "--jobs 1"),
        )
    ),
    *(
        (
            page,
            "improve",
            "--budget 200samples --contender plain --contender refocus --batch-size 4 --img-size 32 --workers 0 "
            "--device cpu",
        )
        for page in ("README.md", "docs/command-line.md", "docs/improve.md")
    ),
    ("docs/fashion-mnist.md", "train", "--data digits --model-kwargs width=0.25 --batch-size 128"),
    ("docs/reports.md", "--before", "--only movement"),
    ("docs/scale.md", "train", "--img-size 32 --no-amp"),
    # random weights explode easily
    *(("docs/tasks.md", run, "--lr 0.0001") for run in ("runs/weighted", "runs/upper")),
    ("docs/studies.md", "compare", "--jobs 1"),
    *(
        (page, word, flags)
        for page in ("docs/tasks.md", "docs/detection.md", "docs/segmentation.md", "docs/restoration.md")
        for word, flags in (
            ("data", "--source digits --train 8 --val 2 --test 3 --size 64"),
            ("detection", "--img-size 64"),
            ("segmentation", "--img-size 64"),
            ("restoration", "--patch-size 16 --model-kwargs width=4 --model-kwargs depth=2"),
            ("eval", "--device cpu"),
        )
    ),
    *(
        (page, word, flags)
        for page in ("docs/embedding.md", "docs/labels-and-values.md", "docs/tasks.md")
        for word, flags in (
            ("one_block", "--img-size 32"),
            ("test_efficientnet", "--img-size 32"),
            ("eval", "--device cpu"),
            ("predict", "--device cpu"),
        )
    ),
    ("docs/inputs.md", "train", "--model-kwargs width=0.25"),
    ("docs/your-own-network.md", "report", "--only movement --device cpu"),
    ("docs/your-own-network.md", "eval", "--device cpu"),
    ("docs/your-own-network.md", "predict", "--device cpu"),
    ("docs/export.md", "eval", "--device cpu"),
    ("docs/export.md", "predict", "--device cpu"),
    ("docs/export.md", "bench", "--repetitions 10"),
)
"""Page, a word of the command, and flags that are added at its end, where they win over those of the page."""

NOT_RUN = {
    "make": "sets up an environment; tests/cli/test_improve.py runs the demo",
    "pip": "installs what is installed here",
    "export": "sets the shell's environment",
    "python": "measures for hours: tests/test_benchmarks.py runs these scripts on small networks",
    "THP_MEM_ALLOC_ENABLE=1": "as python",
}
"""First words of commands that are not run, and why."""

PARSED = {
    page: "hours of training; the journals of tests/studies say that nothing is left to run"
    for page in PAGES
    if page.startswith("docs/results/") and page not in {"docs/results/index.md", "docs/results/questions.md"}
}
"""Pages whose commands are only parsed, and why; the studies that they name are read."""

TOGETHER = {"docs/reports.md": "docs/command-line.md", "docs/export.md": "docs/command-line.md"}
"""A page whose commands go on from another page's."""


def blocks(page, language):
    """Return the fenced blocks of a page in a language, without the fences."""
    if not (ROOT / page).is_file():
        return []
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def commands(page):
    """Return the commands of a page's shell blocks as lists of words."""
    text = "".join(blocks(page, "sh")).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def arguments(page, words, last):
    """Return the arguments of ``refconv`` that a command stands for here; None if it is not run.

    Args:
        page: the page.
        words: the command.
        last: the arguments of the command before, which "..." repeats.
    """
    if words[0] == "torchrun":  # one process here; tests/engine/test_torchrun.py starts several
        words = words[words.index("refconv") :]
    if "--executor" in words:  # which needs a cluster; tests/studies/test_on_ray.py and test_on_slurm.py have one
        return None
    if words[0] != "refconv":
        assert words[0] in NOT_RUN, f"{page}: {words[0]}"
        return None
    given = [INSTEAD.get(word, word) for word in words[1:]]
    if "..." in given:
        place = given.index("...")
        given[place : place + 1] = last[last.index(given[0]) + 1 :]
    return given + [flag for of, word, flags in ADDED if of in {"*", page} and word in given for flag in flags.split()]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_is_in_a_language_that_is_run(page):
    fences = re.findall(r"^```([^\n]*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= {"python", "sh", "toml", "math", "{toctree}", ""}
    assert set(fences[1::2]) <= {""}


# Python blocks


class Loader:
    """Two small batches; before the first, ``watch`` may look at what the example has made so far."""

    def __init__(self, watch=lambda: None):
        self.watch = watch

    def __iter__(self):
        self.watch()
        for _ in range(2):
            yield torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])


def moved(before, after):
    """Return the median over depthwise layers of |after - before| / |before|."""
    pairs = zip(before.modules(), after.modules(), strict=True)
    found = [
        (a.weight - b.weight).detach().norm() / b.weight.detach().norm()
        for b, a in pairs
        if getattr(b, "groups", 1) > 1
    ]
    return torch.stack(found).median().item()


def run_python(code, names):
    """Run a block with the networks of ``INSTEAD``, with what these names mean; return all names after it."""
    for long, small in INSTEAD.items():
        code = code.replace(f'"{long}"', f'"{small}"')
    exec(code, names)
    return names


def gradient_space_example(code, pretrained):
    names = run_python(code, {"loader": Loader()})
    model, optimizer = names["model"], names["optimizer"]
    assert list(model.state_dict()) == list(pretrained)  # "there is nothing to merge: `model` is the result"
    assert optimizer.layers
    assert all(bool(optimizer.refocus_weight(layer).any()) for layer in optimizer.layers)


def kernel_space_example(code, pretrained):
    seen, names = [], {}

    def watch():
        image = torch.randn(2, 3, 32, 32)
        outputs = [copy.deepcopy(names[name]).eval()(image) for name in ("model", "before")]
        seen.append(torch.equal(*outputs))

    names["loader"] = Loader(watch)
    run_python(code, names)
    assert seen == [True]  # "the outputs are the same bit for bit at this moment"
    assert list(names["model"].state_dict()) == list(pretrained)
    assert names["report"].layers
    # At this learning rate kernels move no faster than in plain training, under the paper's scale many times as fast.
    released = run_python(code.replace("refocus(model)", 'refocus(model, scale="paper")'), {"loader": Loader()})
    of_surgery = ("plan", "print(plan)", "report", "print(report)")
    lines = [line for line in code.splitlines() if not line.startswith(of_surgery)]
    plain = run_python("\n".join(lines), {"loader": Loader()})
    capped, paper, usual = (moved(run["before"], run["model"]) for run in (names, released, plain))
    assert 0 < capped < 1.5 * usual
    assert paper > 10 * usual


def loop_in_gradient_space_example(code, pretrained):
    seen = []

    def watch():
        seen.append(names["optimizer"].param_groups[0]["lr"])

    names = {"loader": Loader(watch)}
    run_python(code, names)
    assert seen == [0.01]
    model, optimizer = names["model"], names["optimizer"]
    assert list(model.state_dict()) == list(pretrained)
    assert any(not torch.equal(value, pretrained[key]) for key, value in model.state_dict().items())
    assert not any(bool(optimizer.refocus_weight(layer).any()) for layer in optimizer.layers)  # "a new round"


def loop_in_kernel_space_example(code, pretrained):
    names = run_python(code, {"loader": Loader()})
    assert names["certificate"].same_structure
    assert names["certificate"].same_outputs
    image = torch.randn(2, 3, 32, 32)
    kernels = {key for key, value in pretrained.items() if value.ndim == 4 and value.shape[-1] > 1} - {
        "conv_stem.weight"
    }
    plain, restored = names["plain"].state_dict(), names["model"].state_dict()
    learned = refconv.plain_state_dict(names["before"])
    assert kernels
    for key in kernels:
        assert torch.equal(restored[key], pretrained[key])
        assert not torch.equal(plain[key], pretrained[key])
        torch.testing.assert_close(learned[key], plain[key])
    assert torch.isfinite(names["plain"].eval()(image)).all()


def script_example(code, pretrained):
    write_images(Path("cifar"))
    for words, quick in {
        **INSTEAD,
        "pretrained=True": 'img_size=32, epochs=1, batch_size=4, lr=1e-3, device="cpu"',
        "workers=2": "workers=1",
    }.items():
        code = code.replace(f'"{words}"', f'"{quick}"') if words in INSTEAD else code.replace(words, quick)
    script = Path("script.py").absolute()  # data workers look for it from elsewhere
    script.write_text(f"import timm_networks\n\n{code}", encoding="utf-8")
    said = run_script(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines()[-1].startswith("refocus one_block on folder:cifar: top-1")
    assert timm.create_model("local-dir:runs/refocus/model", pretrained=True).num_classes == 3


def analysis_example(code, pretrained):
    before, after = resnet_small(channels=[4, 8]), resnet_small(channels=[4, 8])
    record = run_python(code, {"before": before, "after": after})["record"]
    assert isinstance(record, Redundancy)
    assert 1 <= record.layers[0].after.effective_rank <= 9


def contenders_example(code, pretrained):
    model = resnet_small(channels=[16, 32])
    image = torch.randn(2, 1, 8, 8)
    names = run_python(code, {"model": model})
    trained = sum(
        value.numel() for name, value in model.named_parameters() if ".weight." in name and value.requires_grad
    )
    assert trained == names["budget"].count
    before = model.eval()(image)
    refconv.merge(model)
    torch.testing.assert_close(model(image), before)


def improve_example(code, pretrained):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    images = torch.randn(60, 1, 8, 8, generator=draw) + labels[:, None, None, None]
    sets = [torch.utils.data.TensorDataset(images, labels) for _ in range(3)]
    names = ("train_loader", "val_loader", "test_loader")
    loaders = {name: torch.utils.data.DataLoader(one, batch_size=10) for name, one in zip(names, sets, strict=True)}
    model = resnet_small(num_classes=3, channels=[4, 8])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = code.replace('budget="40ep"', 'budget="9ep", contenders=("plain",), check=False, show=False, lr=0.1')
    assert small != code
    with tempfile.TemporaryDirectory() as folder:
        given = {"model": model, **loaders}
        record = run_python(small.replace("runs/better", f"{folder}/better"), given)["record"]
        moved = any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert moved == (record.winner != "the network as it was")


class Binarise(torch.nn.Module):
    def forward(self, weight):
        return weight + (weight.abs().mean() * weight.sign() - weight).detach()


def together_example(code, pretrained):
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3), torch.nn.Conv2d(4, 4, 3)]
    model = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.ReLU()))).eval()
    image = torch.randn(2, 3, 8, 8)
    training = "for _ in range(2):\n    optimizer.zero_grad(); model(image).sum().backward(); optimizer.step()\n"
    training += "outputs = model(image)"
    assert "# ... training ..." in code
    names = {"model": model, "image": image, "Binarise": Binarise}
    outputs = run_python(code.replace("# ... training ...", training), names)["outputs"]
    torch.testing.assert_close(model(image), outputs)
    assert (model[2].weight_mask == 0).float().mean() == 0.5
    assert model[4].weight.abs().unique().numel() == 1


def own_transformation_example(code, pretrained):
    model = resnet_small(channels=[4, 8]).eval()
    image = torch.randn(2, 1, 8, 8)
    expected = model(image)
    try:
        run_python(code, {"model": model})
        torch.testing.assert_close(model(image), expected)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("values"):
                    parameter.normal_()
        trained = model(image)
        assert not torch.allclose(trained, expected)
        refconv.merge(model)
        torch.testing.assert_close(model(image), trained)
    finally:
        TRANSFORMS.pop("tilt", None)


def export_example(code, pretrained):
    with tempfile.TemporaryDirectory() as folder:
        names = run_python(code.replace("model.onnx", f"{folder}/model.onnx"), {})
        assert names["record"].gives == ("logits",)
        assert list(Path(folder).iterdir())


PYTHON = {
    ("README.md", 0): gradient_space_example,
    ("README.md", 1): kernel_space_example,
    ("docs/training-loop.md", 0): loop_in_gradient_space_example,
    ("docs/training-loop.md", 1): loop_in_kernel_space_example,
    ("docs/training-loop.md", 2): script_example,
    ("docs/analysis.md", 0): analysis_example,
    ("docs/improve.md", 0): improve_example,
    ("docs/contenders.md", 0): contenders_example,
    ("docs/contenders.md", 1): own_transformation_example,
    ("docs/together.md", 0): together_example,
    ("docs/export.md", 0): export_example,
}
"""What is checked of each block beside that it runs."""


@pytest.mark.parametrize(
    ("page", "number"), [(page, number) for page in PAGES for number in range(len(blocks(page, "python")))]
)
def test_python_example_runs_and_does_what_it_says(page, number, pretrained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PYTHON[page, number](blocks(page, "python")[number], pretrained)


# Numbers beside examples


def test_page_says_how_far_the_recorded_step_of_adamw_moved_kernels():
    rows = json.loads((ROOT / "benchmarks" / "movement.json").read_text(encoding="utf-8"))["rows"]
    percent = {
        row["scale"]: 100 * row["movement_1"]
        for row in rows
        if row["network"].startswith("EfficientNet-Lite0") and row["optimizer"] == "AdamW, rate 0.001"
    }
    words = " ".join((ROOT / "docs" / "settings.md").read_text(encoding="utf-8").split())
    (shown,) = re.findall(r"[^.:]*one step of AdamW at 1e-3 moves .*? %[^%]* %[^%]* %", words)
    expected = [f"{percent['capped']:.1f}", f"{percent['plain training']:.1f}", f"{percent['paper']:.0f}"]
    assert re.findall(r"([\d.]+) %", shown) == expected


def test_page_shows_the_line_about_images_that_eval_prints():
    line = resolve([of_name("test_convnext")], in_chans=3)
    assert f"```\nimages: {line}\n```" in (ROOT / "docs" / "preprocessing.md").read_text(encoding="utf-8")


# Shell blocks


def write_images(folder):
    """Write six images for each of three classes, to train and to test on."""
    generator = np.random.default_rng(0)
    for split, name, number in (
        (s, n, i) for s in ("train", "test") for n in ("cat", "dog", "ship") for i in range(1, 7)
    ):
        file = folder / split / name / f"{number:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)


def write_tables(folder):
    """Write images with a table of two labels, and others with a table of a value; and folders of two classes."""
    generator = np.random.default_rng(1)
    heads = {"faces/labels.csv": "image,split,smiling,glasses", "road/steering.csv": "image,split,angle"}
    for name, head in heads.items():
        rows, table = [head], folder / name
        for number in range(1, 13):
            picture = table.parent / "images" / f"{number:04d}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(picture)
            targets = f"{number % 2},{number % 3 % 2}" if "faces" in name else f"{number / 10}"
            rows.append(f"images/{picture.name},{'train' if number < 9 else 'test'},{targets}")
        table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    for split, name in ((split, name) for split in ("train", "test") for name in ("real", "fake")):
        shutil.copytree(folder / "road" / "images", folder / "photos" / split / name)


def write_sounds(folder):
    """Write three sounds of two kinds, to train and to test on."""
    generator = np.random.default_rng(2)
    for split, name, number in ((s, n, i) for s in ("train", "test") for n in ("wren", "tit") for i in range(3)):
        file = folder / split / name / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, generator.uniform(-0.5, 0.5, 400), 16000)


LOSSES = """
def quantile(outputs, targets, q=0.5):
    return ((targets - outputs) * (q - (targets < outputs).float())).mean()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the pages' commands name: images, a network with its weights, a study; the current folder."""
    write_images(tmp_path / "cifar")
    write_tables(tmp_path)
    write_sounds(tmp_path / "birds")
    (tmp_path / "losses.py").write_text(LOSSES, encoding="utf-8")
    (tmp_path / "resnet.py").write_text(
        "from refconv.models.networks import resnet_small\n\n\n"
        "def resnet20():\n    return resnet_small(in_chans=3, num_classes=3, channels=[4, 8])\n"
    )
    state = resnet_small(in_chans=3, num_classes=3, channels=[4, 8]).state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "resnet20.th")
    quick = {"study": {"seeds": 1, "samples": 200}, "base": {"samples": 200}, "grid": {"lr": [0.05]}}
    (tmp_path / "study.toml").write_text(tomli_w.dumps(changed(**quick)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "resnet", raising=False)
    monkeypatch.setattr(timing, "_STATUS", tmp_path / "none")  # tests/exporting/test_timing.py measures memory
    yield tmp_path
    for name in ("resnet", "losses"):
        sys.modules.pop(name, None)


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """Let two networks of timm have pretrained weights without the internet; return those of the first."""
    states = {}
    for network, tag in (("one_block", "untrained"), ("test_efficientnet", "r160_in1k")):
        states[network] = timm.create_model(network).state_dict()
        file = tmp_path / f"{network}.pth"
        torch.save(states[network], file)
        for name in (network, f"{network}.{tag}"):
            known = dataclasses.replace(_registry._model_pretrained_cfgs[name], file=str(file))
            monkeypatch.setitem(_registry._model_pretrained_cfgs, name, known)
    return states["one_block"]


def check_readme(place, shown, pretrained):
    assert "structure  the same" in shown["verify"]
    assert "mobilenet: refocus minus plain is" in shown["compare"]
    for word in ("plain", "refocus"):
        assert word in (place / "report.html").read_text(encoding="utf-8")


def check_command_line(place, shown, pretrained):
    assert "3 skipped: one tap" in shown["plan"]
    recipes = [(place / f"runs/{run}/recipe.toml").read_text(encoding="utf-8") for run in ("plain", "refocus")]
    different = set(recipes[0].splitlines()) ^ set(recipes[1].splitlines())
    assert {line.split(" = ")[0] for line in different if "=" in line} <= {
        "method",
        "space",
        "refconv_digest",
    }  # the same budget
    result = timm.create_model("local-dir:runs/refocus/model", pretrained=True).state_dict()
    written = timm.create_model("local-dir:mobilenet-refocused", pretrained=True).state_dict()
    assert all(torch.equal(written[key], result[key]) for key in written)
    assert json.loads((place / "runs/refocus/record.json").read_text())["sites"] > 0
    assert len(json.loads((place / "pictures/predictions.json").read_text())) == 6
    assert "structure  the same" in shown["verify"]
    assert "outputs    identical" in shown["merge"]
    assert "movement" in shown["analyze"].lower()
    assert "mobilenet: refocus minus plain is" in shown["compare"]
    for word in ("plain", "refocus"):
        assert word in (place / "report.html").read_text(encoding="utf-8")


def check_reports(place, shown, pretrained):
    assert (place / "analysis" / "pair.json").is_file()
    assert (place / "report.html").stat().st_size > 1000


def check_fashion_mnist(place, shown, pretrained):
    base, *others = (
        json.loads((place / f"runs/fashion-mnist/{run}-0/record.json").read_text())
        for run in ("base", "plain", "refocus")
    )
    assert others[0]["samples_seen"] == others[1]["samples_seen"]
    assert base["sites"] == others[0]["sites"] == 0 < others[1]["sites"]


def check_scale(place, shown, pretrained):
    assert 'gram_scale = "paper"' in (place / "runs/mobilenetv3-imagenet/recipe.toml").read_text(encoding="utf-8")
    assert (place / "runs/mobilenetv3-imagenet/model/config.json").is_file()


def check_studies(place, shown, pretrained):
    assert (place / "runs/tiny/comparison.json").is_file()


def check_tasks(place, shown, pretrained):
    for run in ("boxes", "classes", "clean", "boxes-refocused", "weighted", "upper"):
        assert (place / "runs" / run / "model" / "config.json").is_file()
    assert "mAP" in shown["eval"]
    assert len(list((place / "pictures").glob("*.png"))) == 3


def check_detection(place, shown, pretrained):
    assert "mAP" in shown["eval"]
    assert len(list((place / "pictures").glob("*.png"))) == 3


def check_segmentation(place, shown, pretrained):
    assert "mean IoU" in shown["eval"]
    assert len(list((place / "pictures").glob("*.png"))) >= 3


def check_restoration(place, shown, pretrained):
    assert "PSNR" in shown["eval"]


def check_your_own_network(place, shown, pretrained):
    assert "structure  the same" in shown["verify"]
    assert "computes the same as the weights" in shown["adopt"]
    assert (place / "resnet20-adopted/adopted.json").is_file()
    assert "images: RGB, 32 x 32 px" in shown["eval"]
    assert "cat" in shown["predict"]
    assert (place / "report.html").is_file()


def check_export(place, shown, pretrained):
    assert "images: RGB, 32 x 32 px" in shown["predict"]
    assert "the same as the unrefocused network" in shown["export"]
    assert "onnxruntime" in shown["bench"]
    assert timm.create_model("local-dir:hub-folder", pretrained=True) is not None
    assert "license: apache-2.0" in (place / "hub-folder/README.md").read_text(encoding="utf-8")


def check_improve(place, shown, pretrained):
    assert "structure  the same" in shown["improve"]
    assert (place / "runs/better/model/config.json").is_file()


def check_embedding(place, shown, pretrained):
    assert "recall" in shown["eval"]
    assert "embedding" in shown["predict"]


def check_labels_and_values(place, shown, pretrained):
    for run in ("attributes", "fake", "steering"):
        assert (place / "runs" / run / "model" / "config.json").is_file()
    assert "MAE" in shown["eval"]
    assert "angle" in shown["predict"]


def check_inputs(place, shown, pretrained):
    assert (place / "runs" / "birds" / "model" / "config.json").is_file()


CHECKS = {
    "docs/embedding.md": check_embedding,
    "docs/inputs.md": check_inputs,
    "docs/labels-and-values.md": check_labels_and_values,
    "docs/improve.md": check_improve,
    "docs/export.md": check_export,
    "README.md": check_readme,
    "docs/command-line.md": check_command_line,
    "docs/detection.md": check_detection,
    "docs/segmentation.md": check_segmentation,
    "docs/restoration.md": check_restoration,
    "docs/fashion-mnist.md": check_fashion_mnist,
    "docs/reports.md": check_reports,
    "docs/scale.md": check_scale,
    "docs/studies.md": check_studies,
    "docs/tasks.md": check_tasks,
    "docs/your-own-network.md": check_your_own_network,
}


def runnable(page):
    """Say whether a page has commands that are run."""
    return page not in PARSED and any(words[0] in {"refconv", "torchrun"} for words in commands(page))


def run_commands(page, capsys):
    """Run a page's commands in order in the current folder; return what the last of each kind printed."""
    shown, last = {}, []
    for words in commands(page):
        given = arguments(page, words, last)
        if given is None:
            continue
        capsys.readouterr()
        status = main(given)
        captured = capsys.readouterr()
        assert status == 0, f"{page}: {shlex.join(given)}\n{captured.err}"
        shown[given[0]], last = captured.out + captured.err, given
    return shown


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page) and page not in TOGETHER])
def test_commands_of_the_page_run_and_do_what_it_says(page, place, pretrained, capsys):
    for one in (page, *(other for other, first in TOGETHER.items() if first == page)):
        CHECKS[one](place, run_commands(one, capsys), pretrained)


@pytest.mark.parametrize("page", PARSED)
def test_commands_of_long_studies_are_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    group = typer.main.get_command(app)
    found = commands(page)
    assert found
    for _, name, *words in found:
        given = group.commands[name].make_context(name, list(words)).params
        assert read_study(given["study"]).name == given["study"].stem
        assert given["journal"] is None or given["journal"].is_file()
