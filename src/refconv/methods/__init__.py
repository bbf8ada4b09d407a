"""Methods: what is done to a model before it is trained, and the optimizer that trains it."""
