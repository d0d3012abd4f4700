"""Stand-ins: small data sets in the official layouts, for readers who do not hold the licensed ones.

`write_ffpp` writes files and nothing else; indexing, face detection, crops and training are the code for real FF++.
"""

from did.data.standin.write import GENERATOR, MARK, write_ffpp

__all__ = ["GENERATOR", "MARK", "write_ffpp"]
