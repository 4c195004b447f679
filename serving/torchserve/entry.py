"""The file inside the archive that TorchServe calls: first without data to load, then with.

Everything else is imported from the installed project: the worker runs in the same environment.
"""

from pathlib import Path

from serving.torchserve.handler import OnnxHandler

_handler = None


def handle(data, context):  # type: ignore[no-untyped-def]
    """TorchServe's calling convention: `data` is None once, when the worker loads."""
    global _handler
    if _handler is None:
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        _handler = OnnxHandler(
            Path(properties["model_dir"]) / "artifact",
            context.model_yaml_config["handler"],
            None if gpu is None or int(gpu) < 0 else int(gpu),
        )
    return None if data is None else _handler.handle(data, context)
