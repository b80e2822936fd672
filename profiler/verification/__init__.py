"""Whole networks measured after the table was made: is the latency what the table predicts?

In come a table, a device and networks. Out go their measured latencies, beside those that the table predicts.
"""
