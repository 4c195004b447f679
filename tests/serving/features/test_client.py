"""The feature client against real stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from scripts.entrypoint import CONFIGS
from serving.features.client import FeatureClient
from serving.features.errors import KeyColumnError, UnknownNameError


def client_of(folder: Path, *overrides: str) -> FeatureClient:
    """The shipped settings, pointed at a folder."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("serve", [f"paths.root={folder}", f"paths.features={folder}", *overrides])
    client = instantiate(cfg.gateway.feature_client)
    assert isinstance(client, FeatureClient)
    return client


async def test_a_service_is_read_by_name(features: Path) -> None:
    client = client_of(features)
    await client.open()
    names = client.service("recommender_v1")
    assert names == ["user_history:item_ids", "user_history:length"]
    found = await client.read(names, {"user_id": ["u3", "nobody", "u0", "u3"]})
    await client.close()
    assert found.names == names
    assert found.values[0] == [["i03", "i04"], None, ["i00", "i01"], ["i03", "i04"]]
    assert found.statuses[0] == ["PRESENT", "NOT_FOUND", "PRESENT", "PRESENT"]
    assert found.event_timestamps[0][1] is None
    assert found.row(0) == {"user_history:item_ids": ["i03", "i04"], "user_history:length": 2}


async def test_unknown_names_are_named_with_near_matches(features: Path) -> None:
    client = client_of(features)
    with pytest.raises(UnknownNameError, match=r"service 'recomender_v1'.*recommender_v1"):
        client.service("recomender_v1")
    with pytest.raises(UnknownNameError, match=r"view 'user_histroy'.*user_history"):
        await client.read(["user_histroy:length"], {"user_id": ["u1"]})
    with pytest.raises(UnknownNameError, match=r"user_history 'lenght'.*length"):
        await client.read(["user_history:lenght"], {"user_id": ["u1"]})
    with pytest.raises(KeyColumnError, match=r"'user_id'; there are \['item_id'\]"):
        await client.read(["user_history:length"], {"item_id": ["u1"]})
    with pytest.raises(KeyColumnError, match=r"user_id\[1\] is 7, a int; user_id takes str"):
        await client.read(["user_history:length"], {"user_id": ["u1", 7]})  # type: ignore[list-item]
