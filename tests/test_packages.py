"""The packages: every module can be reached by its name."""

import importlib
import pkgutil
import sys

import refconv


def test_no_module_hides_behind_another_object_of_the_same_name():
    hidden = []
    for module in pkgutil.walk_packages(refconv.__path__, "refconv."):
        if module.name.endswith("__main__"):
            continue
        importlib.import_module(module.name)
        package, _, name = module.name.rpartition(".")
        if getattr(sys.modules[package], name) is not sys.modules[module.name]:
            hidden.append(module.name)
    assert hidden == []
