"""parametrizations."""
