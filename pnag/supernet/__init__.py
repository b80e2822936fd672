"""The supernet: elastic layers, checkpoints, training, and the evaluation of its sub-networks.

In come a space, a data set, and a checkpoint of ours or of once-for-all. Out go static networks with weights, and
measured accuracies.
"""

CURVE = "curve.jsonl"  # beside a training's weights: its loss and accuracies, step by step
