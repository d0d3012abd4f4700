"""Stand-ins: small data sets in the official layouts, for readers who do not hold the licensed ones.

`write` writes files and nothing else; indexing, face detection, crops and training are the code for the real data
sets. `mask` and `made` say what was changed in a file, and how it was made.
"""

from did.data.layout import MARK
from did.data.masks import mask
from did.standin.writing import GENERATOR, made, write

__all__ = ["GENERATOR", "MARK", "made", "mask", "write"]
