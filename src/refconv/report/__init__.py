"""Records of pairs of models -> one HTML page that a person wants to read.

What is read are the JSON files that an analysis left; nothing here needs torch, the models or the data.

    pairs = [read_pair("analysis/plain"), read_pair("analysis/refocus")]
    print(write_report(pairs, "report.html"))
"""

from refconv.measures.pairs import ModelPair
from refconv.report.writing import Report, read_pair, write_report

__all__ = ["ModelPair", "Report", "read_pair", "write_report"]
