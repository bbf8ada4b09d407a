"""What tools meet that take a kernel out of its module, to put another tensor in its place or the former one back."""

from __future__ import annotations

from typing import Any

from refconv.errors import LayerError


class OwnParameters(dict[str, Any]):
    """A refocused module's own parameters, which say why its kernel is not among them to whoever takes it out.

    So do torch's older ``weight_norm`` and ``spectral_norm`` and all of ``prune``, by ``module._parameters[name]`` and
    ``del module._parameters[name]``.
    """

    def __init__(self, parameters: dict[str, Any], kernel: str, layer: str) -> None:
        super().__init__(parameters)
        self.kernel, self.layer = kernel, layer

    def __missing__(self, name: str) -> Any:
        if name == self.kernel:
            raise cannot_be_taken_out(self.layer)
        raise KeyError(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            self.__missing__(name)
        super().__delitem__(name)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a parameter and return it."""
        return super().pop(name, *default) if name in self or default else self.__missing__(name)


def cannot_be_taken_out(layer: str) -> LayerError:
    """Return the error for tools that remove the kernel from its module."""
    tools = "torch's weight_norm, spectral_norm, prune and their remove functions do"
    what = f"the kernel is computed from its base and cannot be taken out of its module, as {tools}"
    remedy = "do so before refocusing, or after refconv.merge(model) or refconv.unrefocus(model)"
    return LayerError(what, where=layer, remedy=remedy)


_READERS = ("zennit",)  # packages whose hooks change parameters found by name, and go on without a word where none is


def check_hook(hook: object, layer: str) -> None:
    """Refuse a hook of a library that looks for its module's parameters, and would miss the kernel silently.

    Such are the rules of zennit, which modify ``weight`` among ``named_parameters``; of a refocused layer they would
    find the bias alone and attribute wrongly.

    Raises:
        LayerError: if the hook comes from such a library.
    """
    owner = getattr(hook, "__self__", hook)
    homes = {kind.__module__.partition(".")[0] for kind in type(owner).__mro__}
    if found := homes & {*_READERS}:
        what = f"{min(found)} looks for the kernel among the parameters, where a refocused layer has none"
        raise LayerError(what, where=layer, remedy="give it refconv.merged(model)")
