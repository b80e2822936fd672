"""Search under a budget: dominance, evaluators, refinement, evolution, and the networks that are remembered.

In come a cost model, a predictor and budgets. Out go scores, and tokens of networks that keep their budgets.
"""
