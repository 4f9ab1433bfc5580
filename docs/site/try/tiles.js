// Tiles of an image, as src/mambairv2/restoration/grid.py and tiling.py cut and blend them.

const WINDOW = 16; // side of an attention window; tiles begin at its multiples
const OVERLAP = 16; // pixels that neighbours share
const CUT = 4; // pixels beside a cut that the neighbour decides
const LEAST_MARGIN = 8; // pixels that the network sees mirrored beyond an edge, at least

// Cut `size` pixels into the fewest ranges of at most `tile`, all as short and even as that allows: [[start, stop], …].
export function spans(size, tile) {
  if (size <= tile) return [[0, size]];
  const units = Math.ceil(size / WINDOW);
  const largest = tile / WINDOW;
  const overlap = OVERLAP / WINDOW;
  const count = Math.ceil((units - overlap) / (largest - overlap));
  const length = Math.ceil((units + (count - 1) * overlap) / count);
  return Array.from({ length: count }, (_, k) => {
    const start = Math.floor((k * (units - length)) / (count - 1));
    return [start * WINDOW, Math.min((start + length) * WINDOW, size)];
  });
}

// Blending weights of each range along one axis; at every pixel of the output they sum to one.
export function ramps(ranges, scale) {
  const total = new Float64Array(ranges[ranges.length - 1][1] * scale);
  const raw = ranges.map(([start, stop], k) => {
    const weight = new Float64Array((stop - start) * scale).fill(1);
    if (k > 0) {
      const shared = (ranges[k - 1][1] - start) * scale;
      for (let i = 0; i < shared; i++) weight[i] *= rise(i, shared, CUT * scale);
    }
    if (k + 1 < ranges.length) {
      const shared = (stop - ranges[k + 1][0]) * scale;
      for (let i = 0; i < shared; i++) weight[weight.length - 1 - i] *= rise(i, shared, CUT * scale);
    }
    weight.forEach((value, i) => (total[start * scale + i] += value));
    return weight;
  });
  return raw.map((weight, k) => Float32Array.from(weight, (value, i) => value / total[ranges[k][0] * scale + i]));
}

// A ramp from 0 to 1 over `length` pixels, flat in the margin at both ends.
function rise(i, length, margin) {
  const flat = Math.min(margin, Math.floor(Math.max(length - 1, 0) / 2));
  return Math.min(Math.max((i + 0.5 - flat) / Math.max(length - 2 * flat, 1), 0), 1);
}

// Restore pixels tile by tile. run: (planes Float32Array, height, width) → planes of the enlarged tile.
// Returns planes (3, height·scale, width·scale) in [0, 1], not clipped. seen: called with tiles done and in all.
export async function restore(pixels, height, width, scale, tile, run, seen) {
  const rows = spans(height, tile);
  const columns = spans(width, tile);
  const [down, across] = [ramps(rows, scale), ramps(columns, scale)];
  const [tall, wide] = [height * scale, width * scale];
  const output = new Float32Array(3 * tall * wide);
  let done = 0;
  for (const [i, [top, bottom]] of rows.entries()) {
    for (const [j, [left, right]] of columns.entries()) {
      const [h, w] = [bottom - top, right - left];
      const [first, last] = seenSpan(top, bottom, height);
      const [begin, end] = seenSpan(left, right, width);
      const [y0, x0, seenWide] = [(top - first) * scale, (left - begin) * scale, (end - begin) * scale];
      const restored = await run(cut(pixels, [first, last, height], [begin, end, width]), last - first, end - begin);
      for (let c = 0; c < 3; c++) {
        for (let y = 0; y < h * scale; y++) {
          const from = (c * (last - first) * scale + y0 + y) * seenWide + x0;
          const to = (c * tall + top * scale + y) * wide + left * scale;
          for (let x = 0; x < w * scale; x++) output[to + x] += restored[from + x] * down[i][y] * across[j][x];
        }
      }
      seen(++done, rows.length * columns.length);
    }
  }
  return output;
}

// Add the margin to a range that touches an edge: a window before the image, and after it what completes a window.
function seenSpan(start, stop, size) {
  const begin = start === 0 ? -WINDOW : start;
  if (stop < size) return [begin, stop];
  return [begin, begin + Math.ceil((size - begin + LEAST_MARGIN) / WINDOW) * WINDOW];
}

// Take a tile out of RGBA bytes, as planes in [0, 1]; beyond an edge the image is mirrored with the edge repeated.
function cut(pixels, [top, bottom, height], [left, right, width]) {
  const [h, w] = [bottom - top, right - left];
  const planes = new Float32Array(3 * h * w);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const from = 4 * (mirror(top + y, height) * width + mirror(left + x, width));
      for (let c = 0; c < 3; c++) planes[(c * h + y) * w + x] = pixels[from + c] / 255;
    }
  }
  return planes;
}

function mirror(i, size) {
  const place = ((i % (2 * size)) + 2 * size) % (2 * size);
  return place < size ? place : 2 * size - 1 - place;
}
