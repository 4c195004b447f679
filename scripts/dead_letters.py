"""Show what a stream job could not handle, or send it again: `python scripts/dead_letters.py`.

`replay=true` sends every dead letter to the stream again, after what was wrong has been mended.
"""

import asyncio

from hydra.utils import instantiate
from omegaconf import DictConfig

from pipelines.streaming.source import Source
from scripts.entrypoint import entrypoint


async def run(source: Source, most: int, replay: bool) -> None:
    try:
        if replay:
            print(f"{await source.replay()} dead letters sent again to {source.name}")
            return
        for letter in await source.dead_letters(most):
            print(letter.as_json().decode())
    finally:
        await source.close()


@entrypoint("dead_letters")
def main(cfg: DictConfig) -> None:
    """One line of JSON a dead letter: reason and payload."""
    asyncio.run(run(instantiate(cfg.stream.broker), cfg.most, cfg.replay))


if __name__ == "__main__":
    main()
