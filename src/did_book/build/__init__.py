"""The book: its notebooks, its pages, the list of the paper's equations, and the checks that a build has to pass."""
