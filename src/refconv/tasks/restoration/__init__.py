"""Restoration: denoising and super-resolution."""
