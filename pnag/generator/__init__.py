"""The generator: an LSTM policy, how it is trained, in rounds or at once, and how it answers budgets.

In come a cost model and accuracies, or somebody to ask for them. Out goes one file that answers any budget
without torch.
"""
