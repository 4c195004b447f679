"""Tokenizers: words learnt from the training split, or the subwords of a pretrained encoder.

Both are Hugging Face `tokenizers`, saved as one `tokenizer.json` in the artifact, which serving
loads: the same Rust code cuts texts in training and in serving.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import WordLevelTrainer

from models.pretrained import encoder_folder
from models.sentiment.texts import TextError

PAD, UNKNOWN = "[PAD]", "[UNK]"
PAD_ID = 0  # of both kinds
# Words with what hangs on them by an apostrophe ("n't", "'s", "don't"), and single other signs.
_WORDS = r"\w*['’]?\w+|[^\w\s]"


def word_tokenizer(texts: Iterable[str], size: int, min_count: int) -> Tokenizer:
    """Learn a vocabulary of whole words.

    Args:
        texts: of the training split only, cleaned.
        size: words at most, the most frequent first.
        min_count: rarer words are unknown.

    Raises:
        TextError: no word occurs so often.
    """
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Split(Regex(_WORDS), "removed", invert=True)
    trainer = WordLevelTrainer(
        vocab_size=size + 2,
        min_frequency=min_count,
        special_tokens=[PAD, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() <= 2:
        raise TextError(f"no word occurs {min_count} times or more; lower min_count")
    return tokenizer


class SubwordTokenizer:
    """The tokenizer of a pretrained encoder, without its own padding and truncation.

    Args:
        encoder: `package:…`, a local folder, or a name on the hub.
    """

    def __init__(self, encoder: str) -> None:
        self.encoder = encoder

    def __call__(self, texts: Iterable[str]) -> Tokenizer:
        """The texts are not looked at: the vocabulary is the encoder's.

        Raises:
            TextError: there is no tokenizer.json, or its padding has another id than 0.
        """
        folder = encoder_folder(self.encoder)
        if folder is None:
            try:
                tokenizer = Tokenizer.from_pretrained(self.encoder)
            except Exception as error:  # the library has no narrower one
                raise TextError(
                    f"encoder {self.encoder!r} is no folder, and cannot be had from the hub: "
                    f"{str(error).splitlines()[0]}"
                ) from error
        else:
            file = folder / "tokenizer.json"
            if not file.is_file():
                raise TextError(f"{folder}: no tokenizer.json; give a pretrained encoder's folder")
            tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if tokenizer.token_to_id(PAD) != PAD_ID:
            raise TextError(
                f"{self.encoder}: {PAD} has id {tokenizer.token_to_id(PAD)}; it must be {PAD_ID}"
            )
        return tokenizer
