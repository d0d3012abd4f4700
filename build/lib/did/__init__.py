"""did: the executable companion to CrossDF (Yang et al., 2025)."""

from did.errors import DidError

__version__ = "0.1.0"
__all__ = ["DidError", "__version__"]
