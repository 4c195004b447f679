"""A pretrained BERT-like encoder with a classification head."""

from __future__ import annotations

import logging
import re
from typing import cast

from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as transformers_logging

from models.pretrained import encoder_folder
from models.sentiment.texts import TextError
from models.sentiment.tokenization import PAD_ID


class BertNet(nn.Module):
    """Token ids [B, T], 0-padded, with special tokens → logits [B, C].

    Args:
        encoder: `package:…`, a local folder, or a name on the hub.
        pooling: "mean" over real tokens (as sentence encoders were trained) or "cls".

    Raises:
        TextError: the encoder cannot be loaded, or its vocabulary is not the tokenizer's.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        encoder: str,
        pooling: str = "mean",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "cls"):
            raise ValueError(f"pooling is {pooling!r}; it must be 'mean' or 'cls'")
        folder = encoder_folder(encoder)
        source = str(folder or encoder)
        shown = transformers_logging.get_verbosity()
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        transformers_logging.set_verbosity(logging.ERROR)
        try:
            # "eager" attention is the one that exports with any length.
            config = AutoConfig.from_pretrained(source)
            self.encoder = AutoModel.from_pretrained(source, config=config)
        except (OSError, ValueError) as error:
            raise TextError(
                f"encoder {encoder!r} cannot be loaded: {str(error).splitlines()[0]}"
            ) from error
        finally:
            transformers_logging.set_verbosity(shown)
        file = folder / "tokenizer.json" if folder else None
        own = Tokenizer.from_file(str(file)).get_vocab_size() if file and file.is_file() else None
        # Fewer tokens are as wrong as more: another tokenizer's ids mean other words.
        if config.vocab_size < vocabulary or (own is not None and own != vocabulary):
            raise TextError(
                f"the tokenizer has {vocabulary} tokens, the encoder {encoder!r} knows "
                f"{own or config.vocab_size}: they do not belong together"
            )
        self.encoder.train()  # it comes in evaluation mode, without dropout
        self.layers = int(config.num_hidden_layers)
        self.max_length = int(config.max_position_embeddings)
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(config.hidden_size), classes)

    def forward(self, ids: Tensor) -> Tensor:
        mask = ids != PAD_ID
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if self.pooling == "mean":
            real = mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * real).sum(1) / real.sum(1).clamp(min=1)
        else:
            pooled = states[:, 0]
        return cast(Tensor, self.head(self.dropout(pooled)))

    def depth(self, name: str) -> int:
        """0 for embeddings, n for the n-th layer, the most for the head."""
        if name.startswith("head"):
            return self.layers + 1
        layer = re.search(r"layer\.(\d+)\.", name)
        return int(layer[1]) + 1 if layer else 0
