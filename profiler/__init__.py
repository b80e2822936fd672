"""Profiling: build, export and measure blocks and networks, write the table."""
