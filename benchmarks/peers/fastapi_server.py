"""FastAPI with the session in its own process: `fastapi_server.py <model> <port>`."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from model import Model

app = FastAPI()
model = Model(sys.argv[1])


@app.post("/rank")
async def rank(request: Request) -> JSONResponse:
    body = await request.json()
    return JSONResponse(model.rank([body["history"]])[0])


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
