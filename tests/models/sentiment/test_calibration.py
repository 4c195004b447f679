"""Temperature, the band of doubt, and the calibration error."""

import numpy as np
import pytest

from models.sentiment.answers import pooled, softmax
from models.sentiment.calibration import calibrate, calibration_error


def overconfident(rows: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that is right as often as softmax(logits / sharpness) says."""
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (rows, 2))
    labels = (rng.random(rows) < softmax(honest)[:, 1]).astype(int)
    return honest * sharpness, labels


def test_the_temperature_undoes_overconfidence() -> None:
    logits, labels = overconfident(20_000, 4.0)
    found = calibrate(logits, labels, accuracy=0.9, most_abstained=0.5, ceiling=0.99)
    assert found.temperature == pytest.approx(4.0, rel=0.05)
    before = calibration_error(softmax(logits), labels)
    after = calibration_error(softmax(logits / found.temperature), labels)
    assert after < 0.02 < 0.1 < before


def test_outside_the_band_answers_are_right_as_often_as_asked() -> None:
    logits, labels = overconfident(20_000, 1.0)
    found = calibrate(logits, labels, accuracy=0.9, most_abstained=0.9, ceiling=0.999)
    probabilities = softmax(logits / found.temperature)
    sure = probabilities.max(axis=1) >= found.abstain_below
    assert np.mean(probabilities.argmax(axis=1)[sure] == labels[sure]) == pytest.approx(
        0.9, abs=0.01
    )
    assert 0.1 < sure.mean() < 0.9


def test_the_band_never_holds_more_than_allowed() -> None:
    logits, labels = overconfident(20_000, 1.0)
    found = calibrate(logits, labels, accuracy=0.999, most_abstained=0.1, ceiling=0.999)
    sure = softmax(logits / found.temperature).max(axis=1) >= found.abstain_below
    assert 1 - sure.mean() == pytest.approx(0.1, abs=0.01)


def test_pieces_count_by_their_words() -> None:
    logits = np.array([[1.0, 0.0], [4.0, 2.0], [7.0, 7.0]])
    means = pooled(logits, owner=[0, 0, 1], sizes=[3, 1, 0], texts=2)
    assert means.tolist() == [[1.75, 0.5], [7.0, 7.0]]
