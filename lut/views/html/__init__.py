"""A report for people: one HTML file with plots that can be pointed at. It holds all that it needs and loads nothing.

In come tables and, where they are known, the visits of their sessions. Out go sections of a page (`report`), which
other packages join with theirs, and the file (`page`). Bokeh is imported only when a report is written.
"""
