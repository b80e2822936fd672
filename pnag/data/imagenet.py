"""Facts about ImageNet that data sets and exported files share."""

# Of RGB in 0 … 1, as once-for-all's and torchvision's ImageNet networks expect it.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
