// The page: takes a photograph, lets the worker enlarge it, shows both under a slider.

const SCALE = 2;
const MOST = 4_000_000; // pixels of the input: the result and its planes take 80 bytes for each
const here = new URL("./", import.meta.url);
const part = (name) => document.getElementById(`try-${name}`);
let worker = null;
let address = null;

part("file").addEventListener("change", (event) => take(event.target.files[0]));
part("example").addEventListener("click", async () => take(await (await fetch(new URL("example.png", here))).blob(), "example.png"));
part("cancel").addEventListener("click", () => end("Cancelled."));
part("slider").addEventListener("input", slide);
for (const name of ["dragover", "drop"]) {
  part("drop").addEventListener(name, (event) => {
    event.preventDefault();
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}
if (location.protocol === "file:") say("Browsers do not run this page from a disk: serve the folder, for instance by `python -m http.server`.");

function say(text) {
  part("status").textContent = text;
}

function slide() {
  part("after").style.clipPath = `inset(0 0 0 ${part("slider").value}%)`;
  part("line").style.left = `${part("slider").value}%`;
}

function end(text) {
  worker?.terminate();
  worker = null;
  part("cancel").hidden = part("progress").hidden = true;
  say(text);
}

async function take(file, name = file?.name) {
  if (!file) return;
  end("Reading the photograph …");
  part("result").hidden = true;
  let image;
  try {
    image = await createImageBitmap(file, { premultiplyAlpha: "none" });
  } catch {
    return say(`${name}: this browser cannot read it as an image.`);
  }
  const { width, height } = image;
  if (width * height > MOST) return say(`${name}: ${width}×${height} is too large for a browser; the limit is ${MOST / 1e6} megapixels. Use the command line.`);
  const before = paint(part("before"), image);
  const pixels = before.getImageData(0, 0, width, height).data;
  const opaque = pixels.every((value, i) => i % 4 !== 3 || value === 255);
  const start = performance.now();
  part("cancel").hidden = part("progress").hidden = false;
  part("progress").removeAttribute("value");
  say("Loading the network, about 18 MB the first time …");
  worker = new Worker(new URL("worker.js", here), { type: "module" });
  worker.onerror = () => end("The network could not be loaded: this site was built without it, or the connection is lost.");
  worker.onmessage = ({ data }) => {
    if (data.error) return end(`It did not work: ${data.error}`);
    if (data.loaded) say("Enlarging …");
    if (data.total) {
      part("progress").value = data.done / data.total;
      say(`Enlarging: ${data.done} of ${data.total} tiles, ${Math.round((performance.now() - start) / 1000)} s`);
    }
    if (data.bytes) finish(data.bytes, image, opaque, name, start);
  };
  worker.postMessage({ pixels, height, width, tile: Number(part("tile").value) }, [pixels.buffer]);
}

function paint(canvas, image, width = image.width, height = image.height) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return context;
}

function finish(bytes, image, opaque, name, start) {
  const [width, height] = [image.width * SCALE, image.height * SCALE];
  const after = part("after");
  const context = paint(after, image, width, height);
  if (!opaque) {
    const enlarged = context.getImageData(0, 0, width, height).data;
    for (let i = 3; i < bytes.length; i += 4) bytes[i] = enlarged[i];
  }
  context.putImageData(new ImageData(bytes, width, height), 0, 0);
  after.toBlob((blob) => {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(blob);
    part("download").href = address;
    part("download").download = `${name.replace(/\.[^.]*$/, "")}_x2.png`;
    part("result").hidden = false;
    slide();
    end(`${image.width}×${image.height} → ${width}×${height} in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  }, "image/png");
}
