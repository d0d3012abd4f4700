// "Try it": finds the face in a picture, cuts it out and scores it, in the page. The picture never leaves the machine.
// The steps are those of did.data.faces and did.predict.detector; the networks are their ONNX graphs. A page has
// <div class="did-try">words for a page without scripts</div>; the parts in _static/try/ are loaded when they are needed.
(() => {
  const f32 = Math.fround;
  const SMALLEST_FACE = 20, STEP = 0.709, LARGE_FACE = 1 / 8, SCALES_BELOW = 2, THRESHOLDS = [0.6, 0.7, 0.7];
  const LANDMARK_GRID = 1 / 8, SMALLEST_FRAME = 20, MOST_PIXELS = 16e6;

  // --- the steps, without a page: tests/did_book runs them in Node and compares them with the package ---------------

  // Averages areas, as torch's interpolate(mode="area"), of the rectangle [x0, x1) × [y0, y1) of RGBA pixels. The result
  // is (3, height, width), as MTCNN takes it: (value - 127.5) / 128.
  function area(image, [x0, y0, x1, y1], width, height) {
    const out = new Float32Array(3 * width * height), inW = x1 - x0, inH = y1 - y0;
    for (let j = 0; j < height; j++) {
      const top = y0 + Math.floor((j * inH) / height), bottom = y0 + Math.ceil(((j + 1) * inH) / height);
      for (let i = 0; i < width; i++) {
        const left = x0 + Math.floor((i * inW) / width), right = x0 + Math.ceil(((i + 1) * inW) / width);
        let r = 0, g = 0, b = 0;
        for (let y = top; y < bottom; y++) {
          for (let at = 4 * (y * image.width + left), end = at + 4 * (right - left); at < end; at += 4) {
            r += image.data[at]; g += image.data[at + 1]; b += image.data[at + 2];
          }
        }
        const n = (bottom - top) * (right - left), at = j * width + i;
        out[at] = (r / n - 127.5) / 128;
        out[at + width * height] = (g / n - 127.5) / 128;
        out[at + 2 * width * height] = (b / n - 127.5) / 128;
      }
    }
    return out;
  }

  // Removes boxes that overlap one of a higher score. `inclusive` counts pixels and compares with the smaller box, as
  // MTCNN's last stage does.
  function suppress(boxes, most, inclusive = false) {
    const one = inclusive ? 1 : 0, size = ([x0, y0, x1, y1]) => (x1 - x0 + one) * (y1 - y0 + one), kept = [];
    for (const box of [...boxes].sort((a, b) => b.score - a.score)) {
      const apart = kept.every((other) => {
        const w = Math.max(0, Math.min(box.at[2], other.at[2]) - Math.max(box.at[0], other.at[0]) + one);
        const h = Math.max(0, Math.min(box.at[3], other.at[3]) - Math.max(box.at[1], other.at[1]) + one);
        const [a, b] = [size(box.at), size(other.at)];
        return (w * h) / (inclusive ? Math.min(a, b) : a + b - w * h) <= most;
      });
      if (apart) kept.push(box);
    }
    return kept;
  }

  const square = ([x0, y0, x1, y1]) => {
    const w = x1 - x0, h = y1 - y0, side = Math.max(w, h), x = x0 + w / 2 - side / 2, y = y0 + h / 2 - side / 2;
    return [x, y, x + side, y + side];
  };
  const moved = ([x0, y0, x1, y1], [a, b, c, d], one) => {
    const w = x1 - x0 + one, h = y1 - y0 + one;
    return [x0 + a * w, y0 + b * h, x1 + c * w, y1 + d * h];
  };
  const inside = (image, box) => {
    const [x0, y0, x1, y1] = box.map(Math.trunc);
    return [Math.max(x0, 1) - 1, Math.max(y0, 1) - 1, Math.min(x1, image.width), Math.min(y1, image.height)];
  };
  const row = (values, number, width) => Array.from(values.subarray(number * width, (number + 1) * width));

  // MTCNN's first network looks at the whole picture at each scale of the pyramid.
  async function proposals(run, image, smallest) {
    const found = [];
    let scale = 12 / smallest;
    for (let side = Math.min(image.width, image.height) * scale; side >= 12; side *= STEP, scale *= STEP) {
      const width = Math.trunc(image.width * scale + 1), height = Math.trunc(image.height * scale + 1);
      const given = area(image, [0, 0, image.width, image.height], width, height);
      const [shift, probability] = await run("pnet", given, [1, 3, height, width]);
      const [h, w] = probability.dims.slice(2), n = h * w, here = [];
      for (let at = 0; at < n; at++) {
        const score = probability.data[n + at];
        if (score < f32(THRESHOLDS[0])) continue;
        const x = at % w, y = Math.floor(at / w), s = f32(scale);
        const box = [2 * x + 1, 2 * y + 1, 2 * x + 12, 2 * y + 12].map((value) => Math.floor(f32(value / s)));
        here.push({ at: box, score, shift: [0, 1, 2, 3].map((k) => shift.data[k * n + at]) });
      }
      found.push(...suppress(here, 0.5));
    }
    return suppress(found, 0.7).map(({ at, score, shift }) => ({ at: square(moved(at, shift, 0)), score }));
  }

  // A later network looks at each box, brought to its size.
  async function looked(run, name, image, boxes, side, threshold) {
    const seen = boxes.map((box) => inside(image, box.at));
    const valid = seen.filter(([x0, y0, x1, y1]) => x1 > x0 && y1 > y0);
    if (!valid.length) return [];
    const given = new Float32Array(valid.length * 3 * side * side);
    valid.forEach((box, number) => given.set(area(image, box, side, side), number * 3 * side * side));
    const answers = await run(name, given, [valid.length, 3, side, side]);
    const [shift, scores] = [answers[0], answers[answers.length - 1]], points = answers.length > 2 ? answers[1] : null;
    const kept = boxes.filter((_, number) => valid.includes(seen[number]));
    return kept.map((box, number) => ({
      at: box.at, score: scores.data[2 * number + 1], shift: row(shift.data, number, 4),
      points: points && row(points.data, number, 10),
    })).filter((box) => box.score > f32(threshold));
  }

  async function faces(run, image, smallest) {
    let boxes = await proposals(run, image, smallest);
    boxes = suppress(await looked(run, "rnet", image, boxes, 24, THRESHOLDS[1]), 0.7);
    boxes = boxes.map(({ at, shift, score }) => ({ at: square(moved(at, shift, 1)), score }));
    const last = (await looked(run, "onet", image, boxes, 48, THRESHOLDS[2])).map(({ at, shift, score, points }) => {
      const w = at[2] - at[0] + 1, h = at[3] - at[1] + 1;
      const onGrid = (value) => even(value / LANDMARK_GRID) * LANDMARK_GRID;
      const landmarks = [0, 1, 2, 3, 4].map((k) => [w * points[k] + at[0] - 1, h * points[k + 5] + at[1] - 1]);
      return { at: moved(at, shift, 1), score, landmarks: landmarks.map((point) => point.map(onGrid)) };
    });
    const size = ({ at: [x0, y0, x1, y1] }) => (x1 - x0) * (y1 - y0);
    return suppress(last, 0.7, true).sort((a, b) => size(b) - size(a));
  }

  const pyramid = (pixels) => {
    let size = SMALLEST_FACE;
    while (size / STEP <= pixels) size /= STEP;
    return size;
  };

  // The largest face, or null: large ones are looked for first, as did.data.faces.detect does.
  async function detect(run, image) {
    let smallest = pyramid(LARGE_FACE * Math.min(image.width, image.height));
    for (;;) {
      const found = await faces(run, image, smallest);
      const high = found.length && found[0].at[3] - found[0].at[1] >= SCALES_BELOW * smallest;
      if (high || smallest === SMALLEST_FACE) return found[0] || null;
      smallest = pyramid(smallest / SCALES_BELOW);
    }
  }

  // Rotation, scale and shift from points to points, in least squares: [[a, -b, x], [b, a, y]].
  function similarity(source, target) {
    const mean = (points) => [0, 1].map((k) => points.reduce((sum, point) => sum + point[k], 0) / points.length);
    const s0 = mean(source), t0 = mean(target);
    let a = 0, b = 0, n = 0;
    source.forEach((point, number) => {
      const [sx, sy] = [point[0] - s0[0], point[1] - s0[1]];
      const [tx, ty] = [target[number][0] - t0[0], target[number][1] - t0[1]];
      a += sx * tx + sy * ty; b += sx * ty - sy * tx; n += sx * sx + sy * sy;
    });
    a /= n; b /= n;
    return [a, -b, t0[0] - (a * s0[0] - b * s0[1]), b, a, t0[1] - (b * s0[0] + a * s0[1])];
  }

  // The upright face, RGB (size, size, 3), as did.data.faces.align cuts it out.
  function align(image, landmarks, template, size) {
    let [m0, m1, m2, m3, m4, m5] = similarity(landmarks, template);
    const fine = Math.max(1, Math.ceil(1 / Math.hypot(m0, m3) - 1e-9)), shift = (fine - 1) / 2;
    [m0, m1, m2, m3, m4, m5] = [m0, m1, m2, m3, m4, m5].map((value) => fine * value);
    m2 += shift; m5 += shift;
    const d = 1 / (m0 * m4 - m1 * m3), i0 = f32(m4 * d), i1 = f32(-m1 * d), i3 = f32(-m3 * d), i4 = f32(m0 * d);
    const i2 = f32(-m4 * d * m2 + m1 * d * m5), i5 = f32(m3 * d * m2 - m0 * d * m5);
    const side = fine * size, sampled = new Uint8Array(3 * side * side), { width, height, data } = image;
    const clip = (value, n) => Math.min(Math.max(value, 0), n - 1);
    for (let y = 0; y < side; y++) {
      const ox = f32(f32(y * i1) + i2), oy = f32(f32(y * i4) + i5);
      for (let x = 0; x < side; x++) {
        // Rounded once, as the fused multiply-add that OpenCV uses here and nowhere else.
        const px = f32(x * i0 + ox), py = f32(x * i3 + oy), sx = Math.floor(px), sy = Math.floor(py);
        const fx = f32(px - sx), fy = f32(py - sy);
        const [x0, x1] = [clip(sx, width), clip(sx + 1, width)], [y0, y1] = [clip(sy, height), clip(sy + 1, height)];
        for (let k = 0; k < 3; k++) {
          const at = (v, u) => data[4 * (v * width + u) + k];
          const top = f32(at(y0, x0) + f32(fx * (at(y0, x1) - at(y0, x0))));
          const bottom = f32(at(y1, x0) + f32(fx * (at(y1, x1) - at(y1, x0))));
          sampled[3 * (y * side + x) + k] = even(f32(top + f32(fy * f32(bottom - top))));
        }
      }
    }
    return fine === 1 ? sampled : reduced(sampled, size, fine);
  }

  // Rounds halves to the even number, as OpenCV does where it does not say otherwise.
  function even(value) {
    const low = Math.floor(value), rest = value - low;
    return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
  }

  // Averages blocks of fine × fine; OpenCV rounds halves up for blocks of four.
  function reduced(pixels, size, fine) {
    const out = new Uint8Array(3 * size * size), side = fine * size, n = fine * fine;
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        for (let k = 0; k < 3; k++) {
          let sum = 0;
          for (let v = 0; v < fine; v++) {
            for (let u = 0; u < fine; u++) sum += pixels[3 * ((y * fine + v) * side + x * fine + u) + k];
          }
          out[3 * (y * size + x) + k] = fine === 2 ? (sum + 2) >> 2 : even(sum / n);
        }
      }
    }
    return out;
  }

  // Pillow's gray, or the three colours one after the other; in [0, 1].
  function asInput(crop, channels) {
    const n = crop.length / 3, out = new Float32Array(channels * n);
    for (let at = 0; at < n; at++) {
      const [r, g, b] = crop.subarray(3 * at, 3 * at + 3);
      if (channels === 1) out[at] = ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16) / 255;
      else [r, g, b].forEach((value, k) => { out[k * n + at] = value / 255; });
    }
    return out;
  }

  // What `did predict` would say of a picture { width, height, data: RGBA }: null if it has no face.
  async function judge(run, image, card) {
    const face = await detect(run, image);
    if (!face) return null;
    const crop = align(image, face.landmarks, card.template, card.size);
    const answers = await run("detector", asInput(crop, card.channels), [1, card.channels, card.size, card.size]);
    const score = answers[0].data[0], map = answers.length > 1 ? { data: answers[1].data, dims: answers[1].dims } : null;
    const probability = 1 / (1 + Math.exp(-score / card.temperature));
    return { face, crop, score, probability, label: score > card.threshold ? "fake" : "real", map };
  }

  const steps = { area, suppress, similarity, align, asInput, detect, judge };
  if (typeof document === "undefined") {
    globalThis.didTry = steps;
    return;
  }

  // --- the page ------------------------------------------------------------------------------------------------------

  const { element } = did;
  const base = document.currentScript.src.replace(/try\.js.*$/, "try/");
  const parts = {};
  // A part is a script that calls this: scripts load from a disk as well, where a page may not fetch files.
  window.didTry = { ...steps, part: (name, value) => { parts[name] = value; } };

  function script(url) {
    return new Promise((done, failed) => {
      const tag = element("script", { src: url });
      tag.onload = done;
      tag.onerror = () => failed(new Error(`${url} cannot be loaded; build the book again`));
      document.head.append(tag);
    });
  }

  // gzip in base64 -> bytes
  async function unpacked(name) {
    if (!(name in parts)) await script(`${base}${name}.js`);
    const packed = Uint8Array.from(atob(parts[name]), (letter) => letter.charCodeAt(0));
    delete parts[name];
    return new Uint8Array(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
  }

  // Loads the runtime and the four graphs once; returns run(name, values, dims) -> the graph's outputs.
  async function start(card, tell) {
    tell("Loading the runtime …");
    await script(`${base}ort.js`);
    const glue = new Blob([await unpacked("glue")], { type: "text/javascript" });
    window.ort.env.wasm.numThreads = 1;
    window.ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(glue) };
    window.ort.env.wasm.wasmBinary = await unpacked("wasm");
    const sessions = {};
    for (const name of ["pnet", "rnet", "onet", "detector"]) {
      tell(name === "detector" ? "Loading the detector …" : "Loading the face finder …");
      sessions[name] = await window.ort.InferenceSession.create(await unpacked(name), { executionProviders: ["wasm"] });
    }
    return async (name, values, dims) => {
      const session = sessions[name];
      const answers = await session.run({ [session.inputNames[0]]: new window.ort.Tensor("float32", values, dims) });
      return card.outputs[name].map((output) => answers[output]);
    };
  }

  async function pixels(blob) {
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    const { width, height } = bitmap;
    if (Math.min(width, height) < SMALLEST_FRAME) throw new Error(`The picture has ${width} × ${height} pixels: too few for a face.`);
    if (width * height > MOST_PIXELS) throw new Error("The picture has more than 16 million pixels: make it smaller, or ask did predict.");
    const canvas = element("canvas", { width, height });
    const pen = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
    pen.drawImage(bitmap, 0, 0);
    return pen.getImageData(0, 0, width, height);
  }

  // The picture with the box.
  function boxed(image, found) {
    const canvas = element("canvas", { width: image.width, height: image.height, role: "img" });
    const pen = canvas.getContext("2d");
    pen.putImageData(image, 0, 0);
    if (found) {
      const [x0, y0, x1, y1] = found.face.at;
      pen.lineWidth = Math.max(2, image.width / 160);
      pen.strokeStyle = found.label === "fake" ? "#d55e00" : "#0072b2";
      pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    canvas.setAttribute("aria-label", found ? "The picture, with a box around the face" : "The picture");
    return canvas;
  }

  // The crop in gray, with the map over it if there is one: dark is its lowest value, bright its highest.
  function cropped(found, size, map) {
    const canvas = element("canvas", { width: size, height: size, role: "img" });
    const pen = canvas.getContext("2d"), image = pen.createImageData(size, size);
    const gray = asInput(found.crop, 1);
    const [low, high] = map ? [Math.min(...map.data), Math.max(...map.data)] : [0, 0];
    const [h, w] = map ? map.dims.slice(-2) : [1, 1];
    for (let at = 0; at < size * size; at++) {
      const cell = Math.floor((Math.floor(at / size) * h) / size) * w + Math.floor(((at % size) * w) / size);
      const over = map ? (map.data[cell] - low) / (high - low || 1) : 0, share = map ? 0.5 : 0, g = 255 * gray[at];
      // From blue to yellow.
      [255 * over, 60 + 170 * over, 130 * (1 - over)].forEach((colour, k) => {
        image.data[4 * at + k] = (1 - share) * g + share * colour;
      });
      image.data[4 * at + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
    canvas.setAttribute("aria-label", map ? "M_df over the crop" : "The crop that the detector sees");
    return canvas;
  }

  const captioned = (picture, words) => element("figure", {}, picture, element("figcaption", {}, words));

  function build(place, card) {
    const status = element("p", { class: "did-said", "aria-live": "polite" }, "Choose a picture.");
    const shown = element("div", { class: "did-shown" });
    const file = element("input", { type: "file", accept: "image/*" });
    const samples = element("div", { class: "did-samples", role: "group", "aria-label": "Pictures of the test people" });
    const tell = (words) => { status.textContent = words; };
    let ready = null, turn = 0;

    async function show(blob, sample) {
      const mine = ++turn;
      shown.replaceChildren();
      try {
        ready ??= start(card, tell);
        const run = await ready.catch((error) => { ready = null; throw error; });
        tell("Looking for a face …");
        const image = await pixels(blob).catch((error) => {
          throw error.message.startsWith("The picture") ? error : new Error("This file is no picture that the browser can read.");
        });
        const found = await judge(run, image, card);
        if (mine !== turn) return;  // another picture was chosen meanwhile
        window.didTry.last = found;
        shown.append(captioned(boxed(image, found), found ? "The face that was found" : "No face was found"));
        if (!found) return tell("No face was found, and that says nothing about forgery.");
        shown.append(captioned(cropped(found, card.size), "What the detector sees"));
        if (found.map) {
          const range = `${Math.min(...found.map.data).toFixed(3)} to ${Math.max(...found.map.data).toFixed(3)}`;
          shown.append(captioned(cropped(found, card.size, found.map), `M_df, its mean over channels: ${range}`));
        }
        const is = sample ? ` It is ${sample.is}; did predict gives it the score ${sample.score.toFixed(3)}.` : "";
        tell(`Called ${found.label}: score ${found.score.toFixed(3)}, and ${(100 * found.probability).toFixed(0)}% forged ` +
          `if half of all pictures are.${is}`);
      } catch (error) {
        if (mine === turn) tell(error.message);
      }
    }

    for (const sample of card.samples) {
      const picture = element("img", { src: sample.data, alt: "", width: 96 });
      const button = element("button", { type: "button" }, picture, element("span", {}, sample.is));
      button.addEventListener("click", async () => show(await (await fetch(sample.data)).blob(), sample));
      samples.append(button);
    }
    file.addEventListener("change", () => file.files.length && show(file.files[0]));
    place.addEventListener("dragover", (event) => event.preventDefault());
    place.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
    });
    place.replaceChildren(
      element("p", {}, "One person whom the detector has not seen, as filmed and as forged:"), samples,
      element("label", {}, "Or a picture of your own (it stays on this machine): ", file), status, shown,
    );
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", "Try the detector");
  }

  document.addEventListener("DOMContentLoaded", async () => {
    const place = document.querySelector(".did-try");
    if (!place) return;
    await script(`${base}card.js`);
    window.didTry.card = parts.card;
    build(place, parts.card);
  });
})();
