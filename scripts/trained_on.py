"""Write into an export's settings which versions of its features the code has."""

import logging

from omegaconf import DictConfig, OmegaConf

log = logging.getLogger(__name__)


def name_features(export: DictConfig | None) -> None:
    """Fill `export.features` from the feature repository, unless it is filled already.

    Where the `features` extra is not installed, the artifact names no versions, and any gateway
    takes it.
    """
    if not export or not export.get("feature_service") or export.get("features"):
        return
    try:
        from feature_repo.registry.trained import code_versions
    except ImportError as error:
        log.warning("the artifact will not name the versions of its features: %s", error)
        return
    OmegaConf.update(export, "features", code_versions(export.feature_service), force_add=True)
