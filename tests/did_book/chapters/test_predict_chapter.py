"""A detector's answers as a figure."""

import numpy as np
import pytest
from PIL import Image

from did.predict import Detector
from did.standin.drawn import draw
from did_book.chapters import predict


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for number in range(3):
        Image.fromarray(draw(np.random.default_rng(number)).image).save(folder / f"{number}.png")
    Image.new("RGB", (90, 90)).save(folder / "none.png")
    return {name: folder / f"{name}.png" for name in ("0", "1", "2", "none")}


def test_each_file_has_its_frame_its_label_and_its_map(whole, tiny_run, files):
    detector = Detector.load(tiny_run.folder)
    plot = whole(predict.predictions(detector, files, "the stamp", columns=3))
    titles = [axis.get_title() for axis in plot.figure.axes]
    assert len(titles) == 6 and titles[3] == "none\nno face found" and titles[4:] == ["", ""]
    for (name, path), row, title in zip(files.items(), plot.data.itertuples(), titles, strict=False):
        assert row.file == name
        if name == "none":
            assert row.label == "no face" and np.isnan([row.score, row.low]).all()
            continue
        answer = detector.predict(path)
        assert (row.label, row.score) == (answer.label, pytest.approx(answer.score, abs=1e-5))
        assert title == f"{name}\n{answer.label}, {answer.score:+.2f}, p {answer.probability:.2f}"
        assert 0 <= row.low < row.high <= 1
        assert f"{name}: called {answer.label}, forged with probability {answer.probability:.3f}" in plot.alt
    assert f"M_df from {plot.data.low.min():.3f} to {plot.data.high.max():.3f}" in plot.alt
    assert plot.alt.startswith("4 frames, each with a box")


def test_the_sentences_on_calibration_change_with_it():
    def said(bound=None, before=0.2, after=0.1, fpr=0.1):
        frame = {"temperature": 0.5, "bound": bound, "fpr": fpr, "fnr": 0.2}
        return " ".join(predict.calibration_sentences({"frame": frame}, {"before": before, "after": after}))

    assert "is 0.500" in said() and "nearer to the share of fakes" in said()
    assert "at most one in three" in said() and "real ones 0.100, of the fakes 0.200" in said()
    assert "separate the validation frames" in said("lower") and "is 0.500" not in said("lower")
    assert "tell nothing, or the contrary" in said("upper")
    assert "farther from" in said(after=0.3) and "no nearer to" in said(after=0.199)
    assert "more than one in three" in said(fpr=0.4)
