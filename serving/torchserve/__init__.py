"""TorchServe: the ONNX Runtime handler, its archive, and the server's settings."""
