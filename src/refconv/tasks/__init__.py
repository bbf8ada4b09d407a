"""Tasks: what is learned from which data, by which loss, and measured how; one folder each."""
