"""What measures speed and quality; each result lies in `results/`, with the machine and the versions beside it."""
