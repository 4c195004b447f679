"""The client of the model against a real TorchServe: answers, errors, keys that are renewed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from serving.gateway.model import NotAnswerableError, Question, RankingModel
from serving.gateway.torchserve import ModelUnavailableError, TorchServeClient
from serving.supervisor import free_port
from tests.serving.conftest import RunningTorchServe

pytestmark = [pytest.mark.services]


def client(running: RunningTorchServe, url: str | None = None) -> TorchServeClient:
    return TorchServeClient(
        url=url or running.server.url,
        management_url=running.server.management_url,
        key_file=running.server.tokens.path,
        timeout_s=10,
        renew_margin_s=0,
        check_interval_s=3600,
    )


@pytest.fixture
async def model(torchserve: RunningTorchServe) -> AsyncIterator[RankingModel]:
    made = client(torchserve)
    await made.open()
    yield RankingModel(made, "recommender")
    await made.close()


async def test_many_histories_in_one_request(model: RankingModel) -> None:
    answers = await model.rank([Question(["i03"], 2), Question(["?"], 2), Question(["i08"], 1)])
    assert answers[0].items == ["i04", "i05"]  # type: ignore[union-attr]
    assert isinstance(answers[1], NotAnswerableError)
    assert answers[2].items == ["i09"]  # type: ignore[union-attr]


async def test_renewed_keys_are_used_and_old_ones_refused(model: RankingModel) -> None:
    torchserve = model.torchserve
    old = torchserve.tokens.inference_key()
    await torchserve.renew_tokens()
    assert torchserve.tokens.inference_key() != old
    (answer,) = await model.rank([Question(["i03"], 1)])
    assert answer.items == ["i04"]  # type: ignore[union-attr]
    assert torchserve._session is not None
    headers = {"Authorization": f"Bearer {old}", "Content-Type": "application/json"}
    body = b'{"instances": [{"history": ["i03"]}]}'
    url = f"{torchserve.url}/predictions/recommender"
    async with torchserve._session.post(url, data=body, headers=headers) as refused:
        assert refused.status in (400, 401, 403)


async def test_a_key_that_somebody_else_renewed_is_read_again(
    model: RankingModel, torchserve: RunningTorchServe
) -> None:
    assert model.torchserve.tokens.inference_key()  # read, and kept
    other = client(torchserve)
    await other.open()
    await other.renew_tokens()
    await other.close()
    (answer,) = await model.rank([Question(["i03"], 1)])
    assert answer.items == ["i04"]  # type: ignore[union-attr]


async def test_nobody_there_is_unavailable(torchserve: RunningTorchServe) -> None:
    lost = client(torchserve, f"http://127.0.0.1:{free_port()}")
    await lost.open()
    with pytest.raises(ModelUnavailableError):
        await RankingModel(lost, "recommender").rank([Question(["i03"], 1)])
    await lost.close()
