"""What a model file is beside its weights: how large it will be, what other programs find in it, its card.

In come a space, or a network's description. Out go sizes, flatbuffers and properties, and text.
"""
