"""Loops that read and write every number of kernels once; :mod:`refconv.ops` has their formulas."""
