"""A table for people to look at: summaries as text, and plots.

In come tables and their differences. Out go lines of text and PNG files. Nothing here changes a table.
"""
