"""Run directories: what `pnag-train` does stage by stage, and the manifest that records it.

In comes what a user asked for. Out goes a directory with table, supernet, archive and generator; a killed training goes
on from it.
"""
