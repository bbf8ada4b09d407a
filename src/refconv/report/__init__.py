"""Records of pairs of models -> one HTML page that a person wants to read.

What is read are the JSON files that an analysis left; nothing here needs torch, the models or the data.
"""
