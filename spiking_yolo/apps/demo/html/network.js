// The network in a thread of its own: pixels in, boxes and counts out. Its state stays here, from frame to frame.
let ort, session, setup, state, peak;

/** What is wrong, as one sentence with the way out. */
class Problem extends Error {}

async function load(options) {
  setup = options;
  const again = "write the folder again by `spiking-yolo demo`, and reload this page.";
  try {
    ort = await import("./ort.wasm.bundle.min.mjs");
  } catch {
    throw new Problem(`The file ort.wasm.bundle.min.mjs is missing or damaged: ${again}`);
  }
  const answer = await fetch("network.onnx");
  if (!answer.ok) throw new Problem(`The file network.onnx is missing: ${again}`);
  // Threads share memory, which browsers allow to isolated pages only. One core is left to the page and the camera.
  const cores = navigator.hardwareConcurrency || 1;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.max(1, Math.min(4, cores - 1)) : 1;
  try {
    session = await ort.InferenceSession.create(new Uint8Array(await answer.arrayBuffer()), { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Problem(`The network cannot start (${String(error.message).split("\n")[0]}): ort-wasm-simd-threaded.wasm or network.onnx is missing or damaged; ${again}`);
  }
  return { threads: ort.env.wasm.numThreads };
}

/** Zeros, as before the first frame. */
function start() {
  peak = 0;
  state = {};
  for (const { input, shape } of setup.states) {
    const sizes = shape.map((size) => (size === "batch" ? 1 : size));
    state[input] = new ort.Tensor("float32", new Float32Array(sizes.reduce((a, b) => a * b, 1)), sizes);
  }
}

/** RGBA bytes -> red, green and blue / 255, one plane each. */
function planes(rgba) {
  const count = rgba.length / 4, values = new Float32Array(3 * count);
  for (let i = 0; i < count; i++)
    for (let c = 0; c < 3; c++) values[c * count + i] = rgba[4 * i + c] / 255;
  return new ort.Tensor("float32", values, [1, 3, setup.height, setup.width]);
}

/** Events of all layers at each place of the finest map. A cell of a coarser map gives each place in it an equal share. */
function heat(outputs) {
  const sums = new Map();
  for (const [name, { data, dims: [, , height, width] }] of Object.entries(outputs)) {
    if (!name.startsWith("events.") || !width) continue;
    // A third of the channels for each counting: one, or those of the layer.
    const size = height * width, third = data.length / 3;
    if (!sums.has(size)) sums.set(size, { height, width, values: new Float32Array(size) });
    const { values } = sums.get(size);
    for (let i = 0; i < third; i++) values[i % size] += data[setup.counted * third + i];
  }
  const all = [...sums.values()], { height, width } = all.reduce((a, b) => (b.values.length > a.values.length ? b : a));
  const total = new Float32Array(height * width);
  for (const map of all) {
    const share = map.values.length / total.length;
    for (let y = 0; y < height; y++) {
      const row = Math.floor((y * map.height) / height) * map.width;
      for (let x = 0; x < width; x++) total[y * width + x] += share * map.values[row + Math.floor((x * map.width) / width)];
    }
  }
  for (const value of total) peak = Math.max(peak, value);
  return { values: total, width, height, peak };
}

/** Boxes in pixels of the network's input, the surest first. */
function boxes({ data, dims: [count, columns] }) {
  const rows = Array.from({ length: count }, (_, i) => Array.from(data.subarray(i * columns + 1, (i + 1) * columns)));
  return rows.sort((a, b) => b[4] - a[4]);
}

async function frame({ pixels, fresh }) {
  if (fresh || !state) start();
  const began = performance.now();
  const outputs = await session.run({ images: planes(new Uint8ClampedArray(pixels)), ...state });
  for (const { input, output } of setup.states) state[input] = outputs[output];
  return {
    boxes: boxes(outputs.detections),
    operations: outputs.operations.data[setup.counted] / setup.macs,
    heat: heat(outputs),
    time: performance.now() - began,
  };
}

onmessage = async ({ data: { load: options, ...message } }) => {
  try {
    postMessage(options ? await load(options) : await frame(message));
  } catch (error) {
    postMessage({ problem: error instanceof Problem ? error.message : `The network stopped (${error.message}): reload this page; if it stops again, close other pages, since memory may be short.` });
  }
};
