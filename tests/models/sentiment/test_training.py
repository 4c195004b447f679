"""Training as a user launches it, on a small language of good and bad words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models import artifact
from models.run import Run
from models.sentiment.answers import UNSURE
from models.sentiment.assessment import module_logits
from models.sentiment.local import local_predictor
from models.sentiment.predictor import Predictor
from models.sentiment.texts import TextError
from models.training import train
from scripts.entrypoint import CONFIGS

GOOD = ["lovely", "great", "wonderful", "superb", "good"]
BAD = ["awful", "poor", "terrible", "boring", "bad"]
REST = "the a film plot actor scene was with and music".split()  # noqa: SIM905


def write_texts(path: Path, rows: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        label = int(rng.integers(2))
        words = [str(w) for w in rng.choice(REST, rng.integers(3, 14))]
        words.insert(int(rng.integers(len(words))), str(rng.choice([BAD, GOOD][label])))
        lines.append({"text": " ".join(words), "label": ["negative", "positive"][label]})
    pl.DataFrame(lines).write_csv(path)


def config(data: Path, output: Path, experiment: str, *overrides: str) -> DictConfig:
    settings = [
        f"experiment=sentiment/{experiment}",
        "data=texts",
        f"data.path={data}",
        f"output_dir={output}",
        f"paths.root={output}",
        "trainer.max_epochs=2",
        "threads=1",
        "logger=none",
        *overrides,
    ]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", settings, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    return cfg


# Random vectors have all to learn: at the full rate, in small batches.
SMALL = ["vectors=random", "model.net.dim=16", "optimizer.lr=0.02", "model.layer_decay=1.0",
         "datamodule.batch_size=32"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "texts.csv"
    write_texts(path, 600)
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    train(config(data, output, "lstm", *SMALL, "model.net.hidden=16", "trainer.max_epochs=4"))
    return output


def predictor(output: Path) -> Predictor:
    loaded = artifact.load(Path(json.loads((output / "metrics.json").read_text())["artifact"]))
    return local_predictor(loaded)


def test_it_learns_and_reports_beside_its_floors(run: Path) -> None:
    report = json.loads((run / "metrics.json").read_text())
    assert report["model"]["accuracy"] > 0.95
    assert report["floors"]["majority"]["accuracy"] < 0.65
    assert set(report["floors"]) == {"majority", "tfidf"}
    page = (run / "report.html").read_text()
    assert "Confusion" in page
    assert "calibration_error" in page


def test_raw_texts_give_the_same_logits_in_training_and_from_the_artifact(run: Path) -> None:
    opened = Run.open(run)
    report = json.loads((run / "metrics.json").read_text())
    rows = opened.data.split.test
    expected = module_logits(opened.model, opened.data, rows) / report["data"]["temperature"]
    answering = predictor(run)
    for row, logits in zip(rows, expected, strict=True):  # text by text
        actual = answering.logits([opened.data.texts.text[row]])[0]
        assert np.abs(actual - logits).max() < 1e-4
    together = answering.logits([opened.data.texts.text[r] for r in rows])
    assert np.abs(together - expected).max() < 1e-4


def test_answers_to_odd_texts(run: Path) -> None:
    answering = predictor(run)
    odd = ["", "   ", "<div></div>", "😀", "\x00\x00", "zzz qqq", "великолепно"]
    for text, answer in zip(odd, answering.answers(odd), strict=True):
        assert answer.label == UNSURE, text
        assert answer.abstained
        assert answer.reason
        assert abs(sum(answer.probabilities.values()) - 1) < 1e-9
    assert answering.answers(["<b>LOVELY</b> film"])[0].label == "positive"


def test_a_long_text_is_read_to_its_end(run: Path) -> None:
    answering = predictor(run)
    filler = "the film was a scene with the plot " * 5
    ending = "awful terrible boring bad " * 200
    (answer,) = answering.answers([filler + ending])
    assert answer.pieces == -(-len((filler + ending).split()) // answering.reader.room)
    assert answer.pieces > 3
    assert answer.label == "negative"
    (huge,) = answering.answers(["lovely film " * 50_000])
    assert huge.label == "positive"


def test_the_word_that_counts_explains_the_answer(run: Path) -> None:
    text = "the plot was awful and the music"
    (answer,) = predictor(run).answers([text], explain=True)
    assert answer.explanation is not None
    assert " ".join(token for token, _ in answer.explanation) == text
    assert max(answer.explanation, key=lambda pair: pair[1])[0] == "awful"


def test_markup_is_in_no_language(run: Path) -> None:
    markup = (
        "<div class='a-review-of-many-words'></div> https://example.com/eine/ganz/andere/sprache"
    )
    (answer,) = predictor(run).answers([markup])
    assert answer.language is None


def test_another_language_is_named(run: Path) -> None:
    german = "Dieser Film war wirklich ganz ausgezeichnet und sehr unterhaltsam"
    english = "This film was really quite excellent and very entertaining indeed"
    first, second = predictor(run).answers([german, english])
    assert (first.language, first.outside) == ("de", True)
    assert (second.language, second.outside) == ("en", False)


def test_a_language_whose_neighbours_take_a_share_is_still_another(run: Path) -> None:
    texts = ["Un chef-d'œuvre absolu, magnifique", "Bardzo dobry produkt, polecam"]
    assert [a.outside for a in predictor(run).answers(texts)] == [True, True]


def test_an_encoder_that_reads_less_than_the_pieces(data: Path, tmp_path: Path) -> None:
    small = tmp_path / "few.csv"
    write_texts(small, 60)
    with pytest.raises(TextError, match="is 600, but the encoder reads at most 512"):
        train(config(small, tmp_path, "minilm", "datamodule.max_length=600"))


@pytest.mark.parametrize(("pooling", "more"), [
    ("AttentionPooling", "model.net.cell=gru"), ("LastPooling", "model.net.layers=2"),
])  # fmt: skip
def test_other_recurrent_nets(pooling: str, more: str, data: Path, tmp_path: Path) -> None:
    chosen = f"model.net.pooling._target_=models.sentiment.nets.pooling.{pooling}"
    extra = ["model.net.hidden=8", "trainer.max_epochs=5", chosen, more]
    found = train(config(data, tmp_path, "lstm", *SMALL, *extra))
    assert found["accuracy"] > 0.8


def test_the_convolutional_net(data: Path, tmp_path: Path) -> None:
    extra = ["model.net.filters=8", "model.net.static=true", "model.class_weights=balanced",
             "model.label_smoothing=0.05", "trainer.max_epochs=6"]  # fmt: skip
    found = train(config(data, tmp_path, "cnn", *SMALL, *extra))
    assert found["accuracy"] > 0.9
    assert predictor(tmp_path).answers(["lovely"])[0].label == "positive"


def test_a_student_learns_from_its_teacher(run: Path, data: Path, tmp_path: Path) -> None:
    teacher = json.loads((run / "metrics.json").read_text())["artifact"]
    settings = [*SMALL, "model.net.hidden=8", "datamodule.teacher.variations=3"]
    taught = config(
        data, tmp_path, "distilled", *settings, f"datamodule.teacher.artifact={teacher}"
    )
    assert train(taught)["accuracy"] > 0.9
    assert len(list((tmp_path / "runs" / "teacher").glob("*.npy"))) == 1
    module = instantiate(taught.datamodule)
    module.prepare()
    batches = module.train_dataloader()
    assert len(batches.ids) == 4 * len(module.split.train)
    assert batches.taught is not None
    with pytest.raises(TextError, match="needs a teacher"):
        train(config(data, tmp_path, "distilled", *settings))


def test_word_vectors_from_a_file_and_their_coverage(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    rng = np.random.default_rng(0)
    lines = [f"{w} " + " ".join(f"{x:.3f}" for x in rng.normal(size=8)) for w in GOOD + BAD]
    file.write_text("\n".join(["10 8", *lines]) + "\n")
    extra = ["vectors=file", f"vectors.path={file}", "model.net.dim=8", "model.net.hidden=8"]
    output = tmp_path / "run"
    train(config(data, output, "lstm", *extra, "model.tune_vectors=false"))
    report = json.loads((output / "metrics.json").read_text())
    assert report["data"]["vector_coverage"] == pytest.approx(0.5)  # of 20 words
    file.write_text("\n".join([*lines[:3], "bad 1 2 3"]) + "\n")
    with pytest.raises(TextError, match=r"vectors\.txt, line 4: 3 values, but 8"):
        train(config(data, output, "lstm", *extra))


def test_vectors_of_another_width_are_refused(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps({"good": [0.1, 0.2], "bad": [0.3, 0.4]}))
    with pytest.raises(InstantiationException, match=r"set model\.net\.dim=2"):
        train(
            config(data, tmp_path, "lstm", "vectors=file", f"vectors.path={file}",
                   "model.net.dim=8", "model.net.hidden=8")
        )  # fmt: skip


@pytest.mark.slow
def test_a_pretrained_encoder_is_tuned_exported_and_quantized(data: Path, tmp_path: Path) -> None:
    small = tmp_path / "few.csv"
    write_texts(small, 120)
    found = train(
        config(small, tmp_path, "minilm", "trainer.max_epochs=2", "datamodule.batch_size=16",
               "optimizer.lr=2e-4", "seed=0")
    )  # fmt: skip
    assert found["accuracy"] >= 0.7
    answering = predictor(tmp_path)
    assert answering.reader.before == [101]
    assert answering.reader.after == [102]
    (answer,) = answering.answers(["wonderful music " * 400])
    assert answer.pieces == 4
    published = Path(json.loads((tmp_path / "metrics.json").read_text())["artifact"])
    assert published.joinpath("model.fp32.onnx").stat().st_size > 3 * (
        published.joinpath("model.onnx").stat().st_size
    )
    assert "texts read again in float32" in published.joinpath("MODEL_CARD.md").read_text()
    # The same answers as without 8-bit weights, also on texts that chose nothing.
    loaded = artifact.load(published)
    texts = [*Run.open(tmp_path).data.texts.text, "a film", "good bad", "not a good plot"]
    exact = local_predictor(loaded, graph=published / "model.fp32.onnx").logits(texts)
    for logits in (answering.logits(texts), local_predictor(loaded, batch_tokens=1).logits(texts)):
        assert np.array_equal(logits.argmax(axis=1), exact.argmax(axis=1))
    # Also a text by itself, whose numbers are rounded otherwise than in a batch.
    quick = local_predictor(loaded, batch_tokens=1, graph=published / "model.onnx").logits(texts)
    validation = Run.open(tmp_path).data.split.validation
    assert np.ptp(quick - exact, axis=1)[validation].max() <= answering.exact_below


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["most_exact=0", "largest_drop=-1"])
def test_8_bit_weights_are_refused_by_the_gate(gate: str, data: Path, tmp_path: Path) -> None:
    small = tmp_path / "few.csv"
    write_texts(small, 120)
    train(
        config(small, tmp_path, "minilm", "trainer.max_epochs=1", "datamodule.batch_size=16",
               f"export.{gate}")
    )  # fmt: skip
    published = Path(json.loads((tmp_path / "metrics.json").read_text())["artifact"])
    assert not published.joinpath("model.fp32.onnx").exists()
    assert "float32: validation accuracy" in published.joinpath("MODEL_CARD.md").read_text()
    assert local_predictor(artifact.load(published)).exact_below == 0


@pytest.mark.parametrize("size", [21, 99_999])  # as of words learnt here, which would train
def test_a_tokenizer_that_does_not_match_the_encoder(size: int, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InstantiationException, match="they do not belong together"):
        instantiate(config(data, tmp_path, "minilm").model, vocabulary=size, counts=[1, 1])
