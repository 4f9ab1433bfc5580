"""A web service: the bytes of an image file in, those of the restored file out. It needs FastAPI and uvicorn.

`python -m uvicorn --app-dir examples serve:app` starts it on 127.0.0.1:8000. One restorer is shared by all requests.
It has no password and no encryption: put it behind a server that has them.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from mambairv2 import Restorer
from mambairv2.images.errors import ImageError
from mambairv2.images.formats import suffix_of

WEIGHTS = "photo-x2"
MEGABYTES = 32
"""Of one request."""
MEGAPIXELS = 12
"""Of one image before it is enlarged."""
AT_ONCE = 2
"""Images that are restored at a time, in a thread each. The network uses all cores for one already."""
WAITING = 16
"""Requests that wait for their turn; more are refused."""


@asynccontextmanager
async def loaded(app: FastAPI) -> AsyncIterator[None]:
    """Load the network before the first request."""
    app.state.restorer = Restorer(WEIGHTS)
    app.state.turn = asyncio.Semaphore(AT_ONCE)
    app.state.requests = 0
    yield


app = FastAPI(title="mambairv2", lifespan=loaded)


@app.post("/restore")
async def restore(request: Request) -> Response:
    """Restore the image file in the body; the answer is a file of the same format, or PNG for formats not written."""
    state = request.app.state
    if state.requests >= AT_ONCE + WAITING:
        raise HTTPException(503, "too many requests wait; try again later", {"Retry-After": "10"})
    state.requests += 1
    try:
        content = await body(request)
        async with state.turn:  # the event loop goes on meanwhile, and answers others
            restored = await run_in_threadpool(state.restorer.restore, content, max_pixels=MEGAPIXELS * 10**6)
    finally:
        state.requests -= 1
    return Response(restored, media_type=mimetypes.types_map.get(suffix_of(restored), "image/webp"))


async def body(request: Request) -> bytes:
    """Return the body of a request; an upload that is too large ends before it is in memory."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MEGABYTES * 2**20:
            raise HTTPException(413, f"the file has more than {MEGABYTES} MB; send a smaller one")
    return bytes(content)


@app.exception_handler(ImageError)
async def refuse(request: Request, error: ImageError) -> JSONResponse:
    """Answer with the one line that says what is wrong with an image."""
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(MemoryError)
async def give_up(request: Request, error: MemoryError) -> JSONResponse:
    """Answer that memory is short now."""
    return JSONResponse({"detail": str(error) or "not enough memory"}, 503)
