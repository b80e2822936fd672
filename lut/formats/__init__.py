"""File formats of latency tables: parquet (ours), CSV, and once-for-all's YAML.

In come paths and rows. Out go rows and files, with their hash checked or made. What a row means is not known here.
"""
