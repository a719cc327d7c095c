"""Head outputs -> boxes or classes. The defaults, which are here, import nothing heavy."""

# Defaults of the options that choose boxes: the smallest confidence, the largest overlap of two
# boxes of a class, and how many an image has.
CONF, IOU, MAX_DET = 0.25, 0.45, 300
