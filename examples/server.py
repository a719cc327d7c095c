"""A detector as a server: photographs in, boxes or a picture out, and a stream of a video.

    pip install '.[examples]' && python examples/server.py
    curl -F file=@dog.jpg localhost:8000/detect
    curl -F file=@dog.jpg localhost:8000/picture -o boxes.jpg

http://localhost:8000 takes a photograph, and shows SOURCE: a video, an address or a webcam's
number.
"""

import io
import os
from collections.abc import Iterator

from fastapi import FastAPI, HTTPException, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from PIL import Image

from spiking_yolo import Result, SpikingYOLO, UserError
from spiking_yolo.io.files import sample_clip

PAGE = """\
<!doctype html>
<title>spiking_yolo</title>
<form action="/picture" method="post" enctype="multipart/form-data">
  <label>A photograph: <input name="file" type="file" accept="image/*" required></label>
  <button>Detect</button>
</form>
<p><a href="/stream">The video</a>, <a href="/docs">the requests</a></p>
"""
SOURCE = os.environ.get("SOURCE", str(sample_clip()))
app = FastAPI(title="spiking_yolo")
# Calls in several threads may overlap, and every stream has a state of its own.
detector = SpikingYOLO(os.environ.get("WEIGHTS"))


@app.exception_handler(UserError)
def refuse(request: Request, error: UserError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=422)


def detected(file: UploadFile, conf: float) -> Result:
    try:
        image = Image.open(file.file)
        image.load()
    except Exception:  # whatever a damaged file does to a decoder
        raise HTTPException(422, f"{file.filename} is no photograph: send a JPEG or PNG") from None
    return detector.detect(image, conf=conf)


def jpeg(result: Result) -> bytes:
    content = io.BytesIO()
    Image.fromarray(result.plot()).save(content, "jpeg", quality=90)
    return content.getvalue()


@app.get("/", response_class=HTMLResponse)
def start() -> str:
    return PAGE


@app.post("/detect")
def boxes(file: UploadFile, conf: float = 0.25) -> Response:
    return Response(detected(file, conf).to_json(), media_type="application/json")


@app.post("/picture")
def picture(file: UploadFile, conf: float = 0.25) -> Response:
    return Response(jpeg(detected(file, conf)), media_type="image/jpeg")


@app.get("/stream")
def stream(every: int = 1, conf: float = 0.25) -> StreamingResponse:
    results = detector.stream(SOURCE, every=every, conf=conf)

    def parts() -> Iterator[bytes]:
        for result in results:
            yield b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(result) + b"\r\n"

    return StreamingResponse(parts(), media_type="multipart/x-mixed-replace; boundary=frame")


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=8000)
