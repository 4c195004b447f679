"""TorchServe: the ONNX Runtime handler, the archive that it travels in, and the server's settings."""
