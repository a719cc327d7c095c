"use strict";
// Where pictures come from: a camera, a video, a photograph. What goes wrong is one sentence with the way out.

const OTHERWISE = "or choose a file or the sample clip";
const CAMERA_PROBLEMS = {
  NotAllowedError: `The camera is blocked: allow it for this page in the address bar and press Camera again, ${OTHERWISE}.`,
  NotFoundError: `No camera was found: connect one and press Camera again, ${OTHERWISE}.`,
  NotReadableError: `The camera is used by another program: close that and press Camera again, ${OTHERWISE}.`,
};

/**
 * A source: element to draw, size, start(), which returns what ends it, and next(), which waits for a frame that was not
 * seen yet.
 */
function videoSource(element, start) {
  let fresh = true, wake = null;
  const arrived = () => {
    fresh = true;
    wake?.();
    element.requestVideoFrameCallback?.(arrived);
  };
  element.requestVideoFrameCallback?.(arrived);
  return {
    element, still: false, start,
    get width() { return element.videoWidth; },
    get height() { return element.videoHeight; },
    async next() {
      if (!element.requestVideoFrameCallback) await new Promise(requestAnimationFrame);
      else if (!fresh) await new Promise((done) => { wake = done; });
      fresh = false;
    },
  };
}

/** A video element that has its first frame. */
function ready(element) {
  Object.assign(element, { muted: true, playsInline: true });
  return new Promise((done, failed) => {
    element.addEventListener("loadeddata", () => done(element), { once: true });
    element.addEventListener("error", failed, { once: true });
  });
}

async function openCamera(lost) {
  if (!navigator.mediaDevices)
    throw new Error(`Browsers give the camera to secure pages only: open this one at http://localhost or at an https:// address, ${OTHERWISE}.`);
  const element = document.createElement("video");
  async function start() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
    } catch (error) {
      throw new Error(CAMERA_PROBLEMS[error.name] ?? `The camera cannot be opened (${error.name}): try another browser, ${OTHERWISE}.`);
    }
    for (const track of stream.getTracks()) track.addEventListener("ended", lost);
    element.srcObject = stream;
    await ready(element);
    await element.play();
    return () => stream.getTracks().forEach((track) => track.stop());
  }
  return Object.assign(videoSource(element, start), { camera: true });
}

async function openVideo(address, name) {
  const element = document.createElement("video");
  Object.assign(element, { loop: true, src: address });
  try {
    await ready(element);
    if (!element.videoWidth) throw new Error("sound alone");
  } catch {
    throw new Error(`The browser cannot decode ${name}: give an MP4 (H.264) or WebM video, or a JPEG, PNG or WebP photograph.`);
  }
  return videoSource(element, async () => {
    await element.play();
    return () => element.pause();
  });
}

async function openPhoto(file) {
  const element = new Image();
  element.src = URL.createObjectURL(file);
  try {
    await element.decode();
  } catch {
    throw new Error(`The browser cannot decode ${file.name}: give a JPEG, PNG or WebP photograph, or an MP4 or WebM video.`);
  }
  const next = () => new Promise((done) => { setTimeout(done, 30); });
  return { element, width: element.naturalWidth, height: element.naturalHeight, still: true, start: () => () => {}, next };
}

const openFile = (file) => (file.type.startsWith("image/") ? openPhoto(file) : openVideo(URL.createObjectURL(file), file.name));
