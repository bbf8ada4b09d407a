"""Counts the operations that torch carries out."""

from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Notes every operation and its arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls.append((function.overloadpacket.__name__, args))
        return function(*args, **(kwargs or {}))

    def count(self, *names):
        return sum(name in names for name, _ in self.calls)
