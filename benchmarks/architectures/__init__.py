"""Every architecture of timm and torchvision as a test bed: its names, its inputs, one trial, the page of results."""
