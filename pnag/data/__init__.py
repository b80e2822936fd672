"""Image data sets: where they come from, how they are split, normalised and augmented.

In comes the name of a data set, such as `digits` or `imagefolder:DIR`. Out go splits that give batches of images and
labels.
"""

from pnag.data.load import load_data
from pnag.data.split import ImageData

__all__ = ["ImageData", "load_data"]
