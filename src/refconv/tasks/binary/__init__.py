"""Binary classification with one logit: one class against the others."""
