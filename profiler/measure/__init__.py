"""Measuring: a session visits every unit in interleaved rounds, and a reference block watches the device.

In come a back-end, artefacts and sampling settings. Out go measurements with their raw samples. Each finished visit is
a line of a journal, so that a killed session goes on where it was.
"""
