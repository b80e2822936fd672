"""Accuracies: the archive that holds them, and the predictor that is fitted to them.

In come architectures with accuracies that somebody measured. Out go archives as files, and predicted accuracies with
their error.
"""
