"""The frame of every script: Hydra, readable errors, exit codes.

`@entrypoint("train")` runs a function on `configs/train.yaml` and the command line's overrides.
A key or choice that does not exist names the nearest that does. A script with commands takes them
as bare first words; see `scripts/commands.py`. Exit codes follow sysexits.h: 2 for a wrong command
line; 78 for a value that a part of the program refuses; an exception's own `exit_code` (65 bad
data, 66 no input, 69 a service is unavailable, …), whose message is all that is printed; 1 with a
traceback for a defect of ours. Under torchrun, which hides exit codes, its agent is told as well.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
)

from models.launcher import leave_reason
from scripts.commands import CommandError, command_overrides

EX_CONFIG = 78
CONFIGS = Path(__file__).resolve().parent.parent / "configs"

_KEY = re.compile(r"(?:Could not override|Key) '([^']+)'")
_CHOICE = re.compile(r"Could not find '([^']+)'|In '[^']+': Could not find '([^']+)'")


def keys(config: object, prefix: str = "") -> list[str]:
    """Every dotted key of a config, inner nodes included."""
    if not isinstance(config, dict):
        return []
    found = []
    for key, value in config.items():
        path = f"{prefix}{key}"
        found += [path, *keys(value, path + ".")]
    return found


def choices() -> list[str]:
    """Every `group/option` below `configs/`."""
    return sorted(str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.rglob("*.yaml"))


def explain(config_name: str, overrides: list[str]) -> str | None:
    """Why these overrides do not compose, with the nearest valid key or choice; None if they do."""
    unread = next((o for o in overrides if not _readable(o)), None)
    if unread is not None:
        key, _, value = unread.partition("=")
        return (
            f"cannot read {unread!r}: a value with one of =,()[]{{}}:\\ in it needs quotes "
            f'that reach the program: \'{key}="{value}"\'; a list is \'{key}=["…","…"]\''
        )
    error = _compose_error(config_name, overrides)
    if error is None:
        return None
    text = str(error)
    wrong = _KEY.search(text)
    if wrong:
        rest = [o for o in overrides if o.split("=")[0].lstrip("+~") != wrong.group(1)]
        near = difflib.get_close_matches(wrong.group(1), _valid(config_name, rest), n=3, cutoff=0.5)
        hint = f"; nearest valid: {', '.join(near)}" if near else ""
        return f"no config key {wrong.group(1)!r}{hint} (a new key is added with +key=value)"
    missing = _CHOICE.search(text)
    if missing:
        name = missing.group(1) or missing.group(2)
        near = difflib.get_close_matches(name, choices(), n=3, cutoff=0.4)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        return f"no config {name!r}{hint}"
    return text.splitlines()[0]


def _valid(config_name: str, overrides: list[str]) -> list[str]:
    """Every key and every group that may be overridden."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            cfg = compose(config_name, overrides, return_hydra_config=True)
        except HydraException:
            cfg = compose(config_name, return_hydra_config=True)
    groups = [g for g in cfg.hydra.runtime.choices if not str(g).startswith("hydra/")]
    with open_dict(cfg):
        del cfg["hydra"]
    return sorted({*groups, *keys(OmegaConf.to_container(cfg, resolve=False))})


def first_of_each(overrides: list[str]) -> list[str]:
    """Overrides of a sweep with the first of the values that each runs through.

    What has no first value, such as an interval, or cannot be parsed is left to Hydra.
    """
    first = []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            continue
        if not override.is_sweep_override():
            first.append(text)
        elif override.is_discrete_sweep():
            first.append(f"{text.split('=')[0]}={next(override.sweep_string_iterator())}")
    return first


def _readable(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _bare(arguments: Sequence[str]) -> str | None:
    """The first argument that is neither key=value, nor a flag or its value, nor a removal."""
    before = ""
    for argument in arguments:
        if "=" not in argument and argument[:1] not in ("-", "~") and not before.startswith("-"):
            return argument
        before = argument if argument not in ("-m", "--multirun") else ""
    return None


def _compose_error(config_name: str, overrides: list[str]) -> HydraException | None:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            compose(config_name, overrides, return_hydra_config=True)
    except HydraException as error:
        return error
    return None


def _chain(error: BaseException | None) -> Iterator[Any]:
    """The error and what caused it: Hydra wraps what a part's constructor raises."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unset(error: BaseException) -> str | None:
    """The config key that has no value, where that is what an error says."""
    for found in _chain(error):
        if isinstance(found, MissingMandatoryValue | InterpolationToMissingValueError):
            key = re.search(r"Missing mandatory value: (\S+)", str(found))
            return key.group(1) if key else None
    return None


def _refused(error: InstantiationException) -> str:
    """What a part that could not be built said, and which config key asked for it."""
    parts = [e for e in _chain(error) if not isinstance(e, InstantiationException)]
    reason = str(parts[-1]) if parts else str(error).splitlines()[0]
    key = re.search(r"full_key: (\S+)", str(error))
    return f"{reason} (config key {key.group(1)})" if key else reason


class RefusedError(Exception):
    """What is wrong with what a script was given."""


def refuse(complaint: object, code: int) -> NoReturn:
    """End with a message for people, and with an exit code for programs."""
    print(f"error: {complaint}", file=sys.stderr)
    leave_reason(complaint if isinstance(complaint, Exception) else RefusedError(complaint))
    sys.exit(code)


def entrypoint(
    config_name: str, commands: Mapping[str, Sequence[str]] | None = None
) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Decorate `main(cfg)` of a script; the result is called without arguments.

    Args:
        commands: see `scripts/commands.py`; None: the script has none.
    """

    def decorate(function: Callable[[DictConfig], object]) -> Callable[[], None]:
        @functools.wraps(function)
        def guarded(cfg: DictConfig) -> object:
            job = HydraConfig.get()
            if job.mode == RunMode.MULTIRUN:
                # Runs of a sweep must not write over one another: each gets a numbered folder.
                cfg.output_dir = job.runtime.output_dir
            try:
                return function(cfg)
            except KeyboardInterrupt:
                sys.exit(130)
            except Exception as error:
                known = next((e for e in _chain(error) if hasattr(e, "exit_code")), None)
                if known is not None:
                    refuse(known, known.exit_code)
                unset = _unset(error)
                if unset is not None:
                    refuse(f"config key {unset!r} must be given: {unset}=…", 2)
                if isinstance(error, InterpolationKeyError):
                    refuse(f"config key {error.full_key!r}: {error.msg}; the chosen configs do "
                           "not belong together", 2)  # fmt: skip
                if isinstance(error, InstantiationException):
                    refuse(_refused(error), EX_CONFIG)
                traceback.print_exc()  # a defect of ours: show where
                leave_reason(error)
                sys.exit(1)

        def run() -> None:
            if commands is not None:
                try:
                    sys.argv[1:] = command_overrides(sys.argv[1:], commands)
                except CommandError as error:
                    refuse(error, error.exit_code)
            for flag in {"-m", "--multirun"}.intersection(sys.argv):
                # Hydra's parser takes overrides on one side of a flag only.
                sys.argv.remove(flag)
                sys.argv.insert(1, flag)
            bare = _bare(sys.argv[1:])
            if bare is not None:
                refuse(f"{bare!r}: settings are given as key=value", 2)
            overrides = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
            if any(a in ("-m", "--multirun") for a in sys.argv[1:]):
                overrides = first_of_each(overrides)
            complaint = explain(config_name, overrides)
            if complaint:
                refuse(complaint, 2)
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(
                guarded
            )()

        return run

    return decorate
