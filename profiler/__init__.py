"""Profiling: build, export and measure blocks and networks, write the table.

In come a search space and a device. Out goes a latency table. Rooms: `build`, `measure`,
`verification`, `zoo`.
"""
