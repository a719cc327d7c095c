"use strict";
// The page: frames of a source go through the network one after the other, and what comes out is shown.
const $ = (id) => document.getElementById(id);
// Frames of a photograph, which does not change: enough to see that nothing more is sent.
const STILL_FRAMES = 10;

/** The thread that computes. Answers come in the order of the questions. */
class Network {
  constructor() {
    this.waiting = [];
    this.worker = new Worker("network.js", { type: "module" });
    this.worker.onmessage = ({ data: answer }) => {
      const [done, failed] = this.waiting.shift();
      if (answer.problem) failed(new Error(answer.problem));
      else done(answer);
    };
    this.worker.onerror = () => {
      for (const [, failed] of this.waiting.splice(0))
        failed(new Error("The file network.js is missing or damaged: write the folder again by `spiking-yolo demo`, and reload this page."));
    };
  }

  ask(message, transfer = []) {
    this.worker.postMessage(message, transfer);
    return new Promise((...both) => this.waiting.push(both));
  }
}

/** Where a picture lies in the network's input, as in training: stretched, or in a grey frame. */
function place(width, height) {
  if (data.resize === "stretch") return { left: 0, top: 0, width: data.width, height: data.height };
  const whole = data.resize === "letterbox-114" ? Math.round : Math.floor;
  const size = { width: data.width, height: data.height };
  if (data.width / width < data.height / height) size.height = Math.max(1, whole((height * data.width) / width));
  else size.width = Math.max(1, whole((width * data.height) / height));
  if (data.resize === "corner-114") return { left: 0, top: 0, ...size };
  return { left: Math.floor((data.width - size.width) / 2), top: Math.floor((data.height - size.height) / 2), ...size };
}

/** The picture that was computed, with its boxes and events: what is seen belongs together. */
class LiveStage extends Stage {
  constructor() {
    super("", "62vh");
    this.picture = h("canvas", { class: "picture", role: "img" });
    this.image.replaceWith(this.picture);
    this.taken = document.createElement("canvas");
    this.input = h("canvas", { width: data.width, height: data.height });
    this.grid = document.createElement("canvas");
    this.hint = h("p", { class: "hint" });
    this.element.append(this.hint);
  }

  /** Words in place of a picture. */
  say(text) {
    this.hint.textContent = text;
  }

  /** Take a frame of the source; returns the network's input as RGBA bytes. */
  take({ element, width, height }) {
    const scale = Math.min(1, 1280 / Math.max(width, height));
    this.taken.width = Math.round(width * scale);
    this.taken.height = Math.round(height * scale);
    this.taken.getContext("2d").drawImage(element, 0, 0, this.taken.width, this.taken.height);
    this.size = place(width, height);
    const context = this.input.getContext("2d", { willReadFrequently: true, alpha: false });
    context.fillStyle = data.resize.endsWith("-114") ? "rgb(114 114 114)" : "rgb(128 128 128)";
    context.fillRect(0, 0, data.width, data.height);
    context.drawImage(element, this.size.left, this.size.top, this.size.width, this.size.height);
    return context.getImageData(0, 0, data.width, data.height).data.buffer;
  }

  /** Show the frame that was taken. */
  present() {
    this.say("");
    const { width, height } = this.taken;
    Object.assign(this.picture, { width, height });
    this.picture.getContext("2d").drawImage(this.taken, 0, 0);
    [this.width, this.height] = [width, height];
    this.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    Object.assign(this.element.style, { aspectRatio: `${width} / ${height}`, width: `min(100%, calc(${this.tallest} * ${width / height}))` });
  }

  /** Boxes of the network's input in pixels of the picture. */
  toPicture([x1, y1, x2, y2, ...rest]) {
    const { left, top, width, height } = this.size;
    const x = (value) => Math.max(0, Math.min(1, (value - left) / width)) * this.taken.width;
    const y = (value) => Math.max(0, Math.min(1, (value - top) / height)) * this.taken.height;
    return [x(x1), y(y1), x(x2), y(y2), ...rest];
  }

  /** Events as colours, of the square root; null for none. */
  heat(map) {
    this.element.classList.toggle("heat", Boolean(map));
    if (!map) return;
    Object.assign(this.grid, { width: map.width, height: map.height });
    const context = this.grid.getContext("2d"), pixels = context.createImageData(map.width, map.height);
    map.values.forEach((value, i) => {
      const level = Math.round(255 * Math.sqrt(value / (map.peak || 1)));
      pixels.data.set(COLOURS[level], 4 * i);
      pixels.data[4 * i + 3] = Math.min(255, 6 * level);
    });
    context.putImageData(pixels, 0, 0);
    const { left, top, width, height } = this.size, across = map.width / data.width, down = map.height / data.height;
    Object.assign(this.canvas, { width: this.taken.width / 2, height: this.taken.height / 2 });
    this.canvas.getContext("2d").drawImage(this.grid, left * across, top * down, width * across, height * down, 0, 0, this.canvas.width, this.canvas.height);
  }
}

const stage = new LiveStage(), counter = new Counter();
let network = null, threads = 1, source = null, end = null, fresh = true, turn = 0, shown = null;

function tell(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

/** Show the frame that was taken, with these boxes and events; returns its boxes in words. */
function present(boxes, heat) {
  shown = { boxes, heat };
  stage.present();
  return draw();
}

/** Draw the boxes and events that are switched on. */
function draw() {
  if (!shown) return "";
  const boxes = shown.boxes.filter((box) => box[4] >= Number($("conf").value));
  stage.draw([{ boxes, dashed: false }]);
  stage.heat($("heat").checked ? shown.heat : null);
  stage.picture.setAttribute("aria-label", `The frame that was computed last: ${counted(boxes)}`);
  return counted(boxes);
}

function running(yes) {
  $("run").textContent = yes ? "Stop" : "Start";
  $("run").disabled = $("reset").disabled = !source;
}

function stop() {
  turn += 1;
  end?.();
  end = null;
  running(false);
}

function reset() {
  fresh = true;
  counter.reset();
}

async function run() {
  const mine = (turn += 1);
  tell("");
  running(true);
  try {
    const started = await source.start();
    // Another source was chosen while the browser asked for the camera.
    if (mine !== turn) return started();
    end = started;
    while (mine === turn) {
      await source.next();
      const pixels = stage.take(source), first = fresh;
      fresh = false;
      if (first) present([], null);
      const answer = await network.ask({ pixels, fresh: first }, [pixels]);
      if (mine !== turn) return;
      // Reset meanwhile.
      if (fresh) continue;
      // The first frame sends everything of a photograph.
      const heat = source.still && !first ? shown.heat : answer.heat;
      counter.add(answer, present(answer.boxes.map((box) => stage.toPicture(box)), heat), threads);
      if (source.still && counter.frames >= STILL_FRAMES) stop();
    }
  } catch (error) {
    if (mine !== turn) return;
    stop();
    tell(error.message);
  }
}

async function choose(open, button) {
  stop();
  const mine = turn;
  tell("");
  for (const each of document.querySelectorAll(".sources button")) each.setAttribute("aria-pressed", each === button);
  try {
    const opened = await open();
    if (mine !== turn) return;
    source = opened;
  } catch (error) {
    if (mine === turn) tell(error.message);
    return;
  }
  reset();
  run();
}

/** Light or dark, as the system says until the button is pressed. */
function theme() {
  let dark = matchMedia("(prefers-color-scheme: dark)").matches, rules = null;
  const name = () => { $("theme").textContent = dark ? "Light mode" : "Dark mode"; };
  $("theme").addEventListener("click", () => {
    dark = !dark;
    rules ??= [...document.styleSheets[0].cssRules].filter((rule) => rule.media?.mediaText.includes("prefers-color-scheme"));
    for (const rule of rules) rule.media.mediaText = dark ? "all" : "not all";
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    name();
  });
  name();
}

function connect() {
  $("camera").addEventListener("click", () => choose(() => openCamera(() => { stop(); tell("The camera has gone: connect it and press Start."); }), $("camera")));
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) choose(() => openFile(file), $("choose"));
    $("file").value = "";
  });
  $("sample").addEventListener("click", () => choose(() => openVideo("clip.mp4", "clip.mp4"), $("sample")));
  $("run").addEventListener("click", () => {
    if ($("run").textContent === "Stop") return stop();
    if (source.camera || source.still) reset();
    run();
  });
  $("reset").addEventListener("click", reset);
  $("heat").addEventListener("change", () => { $("scale").hidden = !$("heat").checked; draw(); });
  const least = () => { $("least").textContent = Number($("conf").value).toFixed(2); draw(); };
  $("conf").min = $("conf").value = data.conf;
  $("conf").addEventListener("input", least);
  least();
}

async function open() {
  $("stage").append(stage.element);
  $("lead").textContent = `A detector of ${data.width} x ${data.height} px, converted by ${data.method}. It runs on this device, and no picture leaves it. From frame to frame it sends only what changes.`;
  $("scale").append(...scale("none", "most", `${data.counting} that all layers send at this place`));
  theme();
  connect();
  stage.say("Loading the network …");
  made(`Computed by ${data.runtime} (MIT licence). All files of this page lie beside it: it loads nothing from elsewhere and sends nothing.`);
  try {
    if (location.protocol === "file:") throw new Error("Browsers run this page from a web server only: run `python -m http.server` in its folder, and open http://localhost:8000.");
    network = new Network();
    const { states, macs, width, height } = data;
    ({ threads } = await network.ask({ load: { states, macs, width, height, counted: ["spikes", "digits"].indexOf(data.counting) } }));
    for (const button of document.querySelectorAll(".sources button")) button.disabled = false;
    stage.say("Choose the camera, a video or a photo, or the sample clip.");
    document.body.dataset.ready = "yes";
  } catch (error) {
    stage.say("");
    tell(error.message);
  }
}

open();
