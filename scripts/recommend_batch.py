"""Every user's list beforehand: `python scripts/recommend_batch.py [artifact=…]`.

Lists go to the warehouse's table `recommendations` (Parquet) and, as the view
`user_recommendations`, into the offline and the online store. A stopped run goes on; the gateway
takes them with `gateway/recommendations=precomputed`.
"""

import json
from pathlib import Path

import polars as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from feature_repo.computation import view_files
from feature_repo.publication import newest_rows
from feature_repo.sources import warehouse_tables
from feature_repo.views import USER_HISTORY, USER_RECOMMENDATIONS, VIEWS
from models import artifact
from models.champion import champion
from models.recommender.batch import BatchRecommender
from models.recommender.interactions import DataError
from models.recommender.retrieval.user_inputs import UserInputs
from scripts.entrypoint import entrypoint


def described(histories: pl.DataFrame, path: Path, features: Path) -> pl.DataFrame:
    """Histories with what the artifact reads of users beside, a column a field.

    Values are those that are put online: of the newest rows of the features that the fields are.

    Raises:
        DataError: the store has no such view.
    """
    wanted: dict[str, dict[str, str]] = {}  # view → feature → field
    for field in UserInputs.of(artifact.load(path)).fields:
        if field.feature is not None:
            view, _, feature = field.feature.partition(":")
            wanted.setdefault(view, {})[feature] = field.name
    views = {view.full_name: view for view in VIEWS}
    for name, renamed in wanted.items():
        files = [file for _, file in view_files(views[name], features)] if name in views else []
        if not files:
            raise DataError(f"{features}: no view {name}, which {path} reads of users; "
                            "run scripts/materialize.py")  # fmt: skip
        rows = newest_rows(views[name], files).select(
            "user_id", *(pl.col(feature).alias(field) for feature, field in renamed.items())
        )
        histories = histories.join(rows.collect(), on="user_id", how="left")
    return histories


@entrypoint("recommend_batch")
def main(cfg: DictConfig) -> None:
    """Compute what is not there yet, write it in one step, publish it."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    path = Path(cfg.artifact or champion(Path(cfg.paths.artifacts), cfg.name))
    files = [file for _, file in view_files(USER_HISTORY, Path(cfg.paths.features))]
    if not files:
        raise DataError(
            f"{cfg.paths.features}: no view {USER_HISTORY.full_name}; run scripts/materialize.py"
        )
    histories = newest_rows(USER_HISTORY, files).select("user_id", "item_ids").collect()
    histories = described(histories, path, Path(cfg.paths.features))
    goal = Path(cfg.paths.warehouse) / "recommendations" / "users.parquet"
    goal.parent.mkdir(parents=True, exist_ok=True)
    recommender: BatchRecommender = instantiate(cfg.recommend)
    done = recommender.recommend(histories, path, goal)
    tables = warehouse_tables(Path(cfg.paths.warehouse))
    published = instantiate(cfg.features)(
        {"recommendations": tables["recommendations"]},
        only=[USER_RECOMMENDATIONS.full_name],
        by=cfg.by,
        why=cfg.why,
    )
    report = {**done, "artifact": str(path), "published": published}
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(
        f"{goal}: {done['users']:.0f} users, {done['now']:.0f} of them computed now, "
        f"{done['without']:.0f} without a known item; {done['seconds']:.1f} s "
        f"({done['users_per_s']:.0f} users/s)"
    )


if __name__ == "__main__":
    main()
