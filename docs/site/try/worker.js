// Runs the network beside the page, so that the page stays responsive.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { restore } from "./tiles.js";

ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
// Threads need headers that few servers of static pages send.
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
ort.env.logLevel = "error";
const SCALE = 2;
const session = ort.InferenceSession.create(new URL("./sr-x2.onnx", import.meta.url).href);

self.onmessage = async ({ data: { pixels, height, width, tile } }) => {
  try {
    const network = await session;
    self.postMessage({ loaded: true });
    const run = async (planes, h, w) => {
      const { restored } = await network.run({ image: new ort.Tensor("float32", planes, [1, 3, h, w]) });
      return restored.data;
    };
    const seen = (done, total) => self.postMessage({ done, total });
    const planes = await restore(pixels, height, width, SCALE, tile, run, seen);
    const area = planes.length / 3;
    const bytes = new Uint8ClampedArray(4 * area).fill(255);
    for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) bytes[4 * i + c] = planes[c * area + i] * 255;
    self.postMessage({ bytes }, [bytes.buffer]);
  } catch (error) {
    self.postMessage({ error: error.message || String(error) });
  }
};
