"""How the loops are compiled, kept and refused."""

import contextlib
import os
import shutil
import subprocess
import threading

import pytest
import torch

import refconv
from refconv.errors import RefconvWarning
from refconv.fused import compiled, slices

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache folder, nothing loaded yet, and a compiler that takes no time to optimise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled, "_FLAGS", ("-O0", *compiled._FLAGS[1:]))
    forget()
    yield tmp_path / "refconv"
    forget()


def forget():
    for function in (compiled.library, slices._checked_library, slices._function):
        function.cache_clear()


def available():
    return slices.fits((3, 3), (3, 3), torch.zeros(1))


def test_a_compiled_file_is_kept_and_a_damaged_one_is_made_again(fresh):
    name = f"slices-{compiled._identity(shutil.which('cc'), '-DREAL=float')}.so"
    fresh.mkdir(mode=0o700)
    kept = fresh / name
    kept.write_bytes(b"no library")
    kept.with_suffix(".sha256").write_text("of another file")
    assert available()
    assert {file.name for file in fresh.iterdir()} == {name, kept.with_suffix(".sha256").name, ".lock"}
    assert compiled._undamaged(kept)
    made = kept.stat().st_mtime_ns
    forget()
    assert available()
    assert kept.stat().st_mtime_ns == made
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.unlink()  # loaded files do not change
    kept.write_bytes(content)
    assert not compiled._undamaged(kept)  # to load it might end this process


def test_of_processes_that_start_at_once_one_compiles(fresh, monkeypatch):
    """The second finds what the first has made, once it may look."""
    compile_, calls = compiled._compile, []

    def counted(compiler, definition, made):
        calls.append(made)
        if len(calls) == 1:
            second.start()  # which cannot get the lock before this one has ended
            second.join(0.2)
        compile_(compiler, definition, made)

    monkeypatch.setattr(compiled, "_compile", counted)
    found = []
    second = threading.Thread(target=lambda: found.append(compiled.library.__wrapped__(torch.float32)))
    found.append(compiled.library.__wrapped__(torch.float32))
    second.join()
    assert len(calls) == 1
    assert len(found) == 2
    assert None not in found


def test_a_cache_without_room_is_passed_by(fresh, monkeypatch):
    places = []

    def full(compiler, definition, made):
        places.append(made)
        if made.is_relative_to(fresh):
            raise subprocess.SubprocessError("No space left on device")
        return compile_(compiler, definition, made)

    compile_ = compiled._compile
    monkeypatch.setattr(compiled, "_compile", full)
    assert available()
    assert [place.is_relative_to(fresh) for place in places] == [True, False]
    assert [file.name for file in fresh.iterdir()] == [".lock"]


def test_a_relative_cache_is_none(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert compiled._cache() == tmp_path / "home/.cache/refconv"


def test_nothing_is_read_from_a_folder_that_others_may_write(fresh):
    fresh.mkdir()
    fresh.chmod(0o777)
    assert available()
    assert list(fresh.iterdir()) == []


def test_users_without_a_home_have_no_cache(monkeypatch):
    def none(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(compiled.Path, "expanduser", none)
    assert compiled._cache() is None


@pytest.mark.parametrize("why", ["switched off", "no compiler", "compiler fails", "folder missing"])
def test_without_loops_training_is_the_same_to_rounding(why, monkeypatch, tmp_path, request):
    def trained():
        torch.manual_seed(0)
        model = torch.nn.Conv2d(3, 4, 3).double()
        optimizer = refconv.RefocusSGD(refconv.param_groups(model, 0.1), lr=0.1, momentum=0.9)
        model(torch.randn(2, 3, 8, 8, dtype=torch.float64)).square().mean().backward()
        optimizer.step()
        return model.weight.detach()

    expected = trained()
    request.addfinalizer(forget)
    forget()
    if why == "switched off":
        monkeypatch.setenv(compiled.SWITCH, "0")
    elif why == "no compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif why == "compiler fails":
        monkeypatch.setattr(
            compiled.shutil, "which", lambda _: shutil.which.__globals__["os"].path.realpath("/bin/false")
        )
    else:
        monkeypatch.setattr(compiled, "SOURCE", tmp_path / "missing.c")
    failing = why in {"compiler fails", "folder missing"}
    with pytest.warns(RefconvWarning, match="does not compile") if failing else contextlib.nullcontext():
        assert not available()
        torch.testing.assert_close(trained(), expected, rtol=1e-13, atol=1e-15)


def test_a_library_that_computes_something_else_is_not_used(fresh, monkeypatch, tmp_path):
    wrong = tmp_path / "wrong.c"
    wrong.write_text(compiled.SOURCE.read_text().replace("out[map->to[e]] += weight", "out[map->from[e]] += weight"))
    monkeypatch.setattr(compiled, "SOURCE", wrong)
    assert compiled.library(torch.float32) is not None
    assert not available()


def test_the_name_of_a_kept_file_follows_from_all_it_depends_on(monkeypatch, tmp_path):
    compiler = os.path.realpath(shutil.which("cc"))
    names = {compiled._identity(compiler, "-DREAL=float"), compiled._identity(compiler, "-DREAL=double")}
    monkeypatch.setattr(compiled, "_features", lambda: "another processor")
    names.add(compiled._identity(compiler, "-DREAL=float"))
    source = tmp_path / "other.c"
    source.write_text("int other;")
    monkeypatch.setattr(compiled, "SOURCE", source)
    names.add(compiled._identity(compiler, "-DREAL=float"))
    assert len(names) == 4
