"""What the main job promises, at full size: `make test-all` only."""

import pytest

from did.evaluation.leaks import spectral_baseline
from did.paper.experiments import READINGS
from did.paper.parameters import train_settings
from did.sources import face_store, open_source
from did.training.runs import run, split_faces

pytestmark = pytest.mark.slow
METHODS = {"Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DID_HOME", str(tmp_path_factory.mktemp("project")))
        source = open_source("ffpp", edition="stand-in", preset="laptop")
        settings = train_settings("laptop")
        store = face_store(source, settings)
        yield settings, source, store


@pytest.fixture(scope="module")
def finished(prepared):
    return run(prepared[1], prepared[0], store=prepared[2])


def test_the_laptop_preset_tells_every_method_on_unseen_people(finished):
    frames = finished.metrics.query("level == 'frame'").set_index("method").auc
    assert set(frames.index) == METHODS | {"all"}
    assert (frames >= 0.90).all(), frames.to_dict()


def test_no_forgery_is_given_away_by_its_spectrum(prepared):
    settings, _, store = prepared
    faces = split_faces(store, settings)
    table = spectral_baseline(faces["train"], faces["test"]).set_index("method").auc
    assert set(table.index) == METHODS
    assert (table < 0.75).all(), table.to_dict()


def test_mtcnn_finds_the_drawn_faces(prepared):
    _, _, store = prepared
    assert len(store.quarantine) <= 0.01 * len(store.manifest)


def test_the_method_works_as_a_mechanism(finished):
    """The domains are learnt, T's estimate moves, and M_df neither stays at its start nor saturates."""
    assert finished.record["metrics"]["domain_accuracy"] > 0.6  # chance: .2
    steps = finished.history[finished.history.cls.notna()]
    assert steps.estimate.iloc[-20:].mean() > steps.estimate.iloc[0] + 0.5
    last = steps.iloc[-10:].mean()
    assert last["M_df saturated"] < 0.05
    assert last["M_df images"] > 0.01
    assert last["gradient from T"] > 0


def test_taken_literally_t_dies(prepared):
    """Under λ_dec = .01 on its own step, coupled weight decay takes T's weights to 0."""
    _, source, store = prepared
    literal = train_settings("laptop", iterations=100, options=READINGS["literal"])
    steps = run(source, literal, store=store).history
    last = steps[steps.cls.notna()].iloc[-10:]
    assert last.estimate.mean() == pytest.approx(-1.3863, abs=2e-3)
    assert last["gradient from T"].max() < 1e-6
