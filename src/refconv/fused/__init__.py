"""Loops that read and write every number of dense kernels once; :mod:`refconv.ops` has their formulas."""
