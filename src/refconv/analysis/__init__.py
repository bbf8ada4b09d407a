"""What changed between two models, in numbers: measures of their weights, each one file, models in and a record out."""
