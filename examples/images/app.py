"""The application: uploads a picture's bytes, answers with its thumbnail, whether a worker lives or not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.responses import FileResponse
from images import images, name_of, thumb

from stoker import Buffer, Dispatcher
from stoker.model.errors import DispatchTimeout, HandlerFailed

UPLOAD_MAX = 64 << 20
KEPT = Path(os.environ.get("IMAGES_HOME", ".stoker/thumbs")).absolute()

dispatcher = Dispatcher()
routes = APIRouter()


@routes.post("/thumb")
async def make_thumb(request: Request, width: Annotated[int, Query(ge=1, le=4096)] = 320) -> Response:
    """The body is the picture. The answer's headers say who made the thumbnail, and where it is kept."""
    picture = await received(request)
    name = await asyncio.to_thread(name_of, picture, width)
    try:
        made = await dispatcher.acall(thumb, picture, width, path=str(KEPT / name), timeout=60, detailed=True)
    except HandlerFailed as error:
        if error.kind == "NoPicture":
            raise HTTPException(415, str(error)) from None
        raise
    except DispatchTimeout:
        raise HTTPException(503, "the picture takes too long") from None
    headers = {"X-Made-By": made.by, "X-Made-Pid": str(made.value.pid), "Location": f"/thumb/{name}"}
    if made.reason is not None:
        headers["X-Made-Why"] = made.reason
    with made.value.jpeg as jpeg:
        return Response(bytes(jpeg), media_type="image/jpeg", headers=headers)


@routes.get("/thumb/{name}")
async def kept_thumb(name: Annotated[str, PathParam(pattern=r"^[0-9a-f]{32}-\d{1,4}\.jpg$")]) -> FileResponse:
    """One that was made before, from the file that the worker wrote."""
    if not (KEPT / name).is_file():
        raise HTTPException(404, "there is no such thumbnail")
    return FileResponse(KEPT / name, media_type="image/jpeg")


async def received(request: Request) -> Buffer:
    """The body, written as it comes into the memory that is moved to the worker."""
    size = request.headers.get("content-length", "")
    if not size.isdigit():
        raise HTTPException(411, "say how long the picture is (Content-Length)")
    if not 0 < int(size) <= UPLOAD_MAX:
        raise HTTPException(413, f"a picture has {UPLOAD_MAX} bytes at most, and more than none")
    buffer = Buffer(int(size))
    async for chunk in request.stream():
        buffer.write(chunk)
    return buffer


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await dispatcher.aclose()
    dispatcher.close()


app = FastAPI(title="Thumbnails", lifespan=lifespan)
if images.routes_enabled:
    app.include_router(routes)


@app.get("/health")
async def health() -> dict[str, Any]:
    """How many thumbnails came by which path, in this process."""
    return {"pid": os.getpid(), "worker_lives": dispatcher.has_worker(images), "paths": dispatcher.counts}
