"""The report of a run: what was learnt, the frontier and the networks, as sections of a page beside those of its table.

In comes a run directory, and the rows of answers where a command has just made them. Out goes one HTML file.
"""
