"""The book: its notebooks, its pages, the list of the paper's equations, and the gates that a build has to pass."""
