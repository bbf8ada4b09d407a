"""Remedies of errors."""

from refconv.errors import did_you_mean


def test_did_you_mean_names_close_words_only():
    assert did_you_mean("cosin", ["cosine", "step"]) == "did you mean cosine?"
    lites = ["efficientnet_lite4", "efficientnet_lite10", "efficientnet_lite0", "tf_efficientnet_lite0"]
    expected = "did you mean efficientnet_lite0 or efficientnet_lite4 or efficientnet_lite10?"
    assert did_you_mean("efficientnet_lite", lites) == expected
    assert did_you_mean("xyz", ["cosine", "step"]) is None
    assert did_you_mean("--nosuch", ["--out", "--amp"]) is None  # what they share are the dashes
