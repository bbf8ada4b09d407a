"""Loops over slices of kernels that read and write every number once; :mod:`refconv.ops` has their formulas."""
