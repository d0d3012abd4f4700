"""The book: its chapters, its computed pages, and what builds and checks it."""
