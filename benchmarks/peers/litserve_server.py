"""LitServe over the same ONNX file: `litserve_server.py <model> <port> <max batch>`."""

from __future__ import annotations

import sys

import litserve as ls
from model import Model


class API(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Model(sys.argv[1])

    def decode_request(self, request: dict) -> list[int]:
        return request["history"]

    def predict(self, x: list) -> object:
        return self.model.rank(x) if self.max_batch_size > 1 else self.model.rank([x])[0]

    def encode_response(self, output: dict) -> dict:
        return output


if __name__ == "__main__":
    batch = int(sys.argv[3])
    api = API(max_batch_size=batch, batch_timeout=0.002 if batch > 1 else 0.0)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error"
    )
