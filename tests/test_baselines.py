import numpy as np

from did.baselines import radial_spectrum, spectral_baseline
from did.results import split_faces


def test_a_wave_stands_in_its_ring():
    x = np.arange(64)
    for cycles in (4, 13, 25):
        image = np.cos(2 * np.pi * cycles * x / 64)[None, None, :].repeat(64, 1)
        spectrum = radial_spectrum(image)
        assert spectrum.shape == (1, 32)
        assert spectrum[0].argmax() == cycles


def test_the_spectrum_does_not_depend_on_orientation():
    image = np.random.default_rng(0).normal(size=(1, 64, 64))
    turned = radial_spectrum(image.transpose(0, 2, 1))
    assert np.allclose(radial_spectrum(image), turned, atol=1e-9)


def test_the_spectral_baseline_finds_what_a_spectrum_shows(tiny_source, tiny_settings):
    """A bright bar has a spectrum of its own; noise against noise has none."""
    faces = split_faces(tiny_source[1], tiny_settings)
    table = spectral_baseline(faces["train"], faces["test"])
    assert list(table.method) == ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    assert (table.auc > 0.9).all()
