"""Pieces of text as sentences begin."""

from __future__ import annotations


def capital(text: str) -> str:
    """Return a text with a capital at its start and all else as it is; names such as mAP keep their small letter.

    Example:
        >>> capital("mean IoU"), capital("mAP from 1 %"), capital("")
        ('Mean IoU', 'mAP from 1 %', '')
    """
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]
