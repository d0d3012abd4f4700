"""The detector in practice: a run's detector, or an exported one, scores pictures and videos.

For example::

    from did.predict import Detector

    detector = Detector.load("runs/0123456789ab")
    answer = detector.predict_file("portrait.png")
    answer.score, answer.probability, answer.label

A score is evidence at best, never proof about a person; see the book's page on use and misuse.
"""

from did.predict.detector import Answer, Detector, ScoredFace, ScoredFrame
from did.predict.exporting import export

__all__ = ["Answer", "Detector", "ScoredFace", "ScoredFrame", "export"]
