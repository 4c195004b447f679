"""Rank suspicious labels for review: `python scripts/find_label_errors.py data=reviews`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from models.sentiment.cleaning import Cleaner
from models.sentiment.review import write_review
from models.sentiment.texts import set_aside, texts_of
from scripts.entrypoint import entrypoint


@entrypoint("find_label_errors")
def main(cfg: DictConfig) -> None:
    """Write the review file; a training run takes it with datamodule.reviewed=<file>."""
    classes = instantiate(cfg.data.classes)
    texts, refused = texts_of(instantiate(cfg.data.reader).read(), classes)
    set_aside(cfg.data.name, refused, len(texts), Path(cfg.rejects), cfg.max_reject_share)
    if cfg.split is not None:
        texts = texts.of_split(cfg.split)
    cleaner = Cleaner(cfg.cleaning)
    rows = instantiate(cfg.errors).find(texts, [cleaner(text) for text in texts.text])
    write_review(Path(cfg.review), rows)
    print(f"{cfg.review}: {len(rows)} of {len(texts)} labels to look at, the worst first")


if __name__ == "__main__":
    main()
