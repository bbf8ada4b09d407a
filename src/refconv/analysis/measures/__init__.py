"""The measures, one file each: models in, a record out."""
