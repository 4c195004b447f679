"""What answers: TorchServe with the ONNX Runtime handler, and the HTTP gateway before it."""
