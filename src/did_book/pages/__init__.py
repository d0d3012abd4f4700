"""The computed pages of the book."""
