// Figures that a reader can move: sliders above a curve, and in words what it shows. No library, no network, no kernel.
// A page has <div class="did-move" data-figure="NAME">words for a page without scripts</div>.
(() => {
  const { element } = did;
  const WIDTH = 560, HEIGHT = 260, LEFT = 46, RIGHT = 12, TOP = 12, BOTTOM = 40;
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const percent = (x) => (x >= 0.0995 ? (100 * x).toFixed(0) : (100 * x).toPrecision(2)) + "%";
  const count = (x) => Math.round(x).toLocaleString("en");

  // Abramowitz and Stegun 7.1.26: the normal distribution function to 1e-7.
  function phi(x) {
    const z = Math.abs(x) / Math.SQRT2, t = 1 / (1 + 0.3275911 * z);
    const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    const half = 1 - poly * Math.exp(-z * z);
    return x >= 0 ? (1 + half) / 2 : (1 - half) / 2;
  }

  // What the figures compute. tests/browser compares these with the package.
  const compute = {
    // Eq. 8: how much a pair costs whose fake scores `difference` higher than its real.
    surrogate: ({ difference, gamma, p }) => (difference < gamma ? (gamma - difference) ** p : 0),
    // Real scores are N(0, 1), fakes N(gap, 1): of a million videos, what a threshold raises an alarm for.
    alarms: ({ gap, threshold, prior }) => {
      const found = 1 - phi(threshold - gap), wrong = 1 - phi(threshold);
      const right = 1e6 * prior * found, false_ = 1e6 * (1 - prior) * wrong;
      return { found, wrong, right, false_, share: right / (right + false_), auc: phi(gap / Math.SQRT2) };
    },
    // §4.1.3 and its two readings: the factor of the gradient at the features, and of T's rate.
    beta: ({ done }) => 2 / (1 + Math.exp(-5 * done)) - 1,
    // An entry of an attention map, from the logits of its channel and its place.
    entry: ({ u, v, merge }) => sigmoid(merge === "sum" ? u + v : u * v),
    nats: ({ r }) => -Math.log(1 - r * r) / 2,
    // Eq. 3 and 4 for two normal variables of correlation r: what they share, in nats; the estimate of the best T there
    // is, whose score is the log of the ratio of densities; and the share of pairs, half of each kind, that it tells.
    information: ({ r, steps = 60 }) => {
      const reach = 5, of = (i) => -reach + (2 * reach * i) / steps;
      const softplus = (t) => Math.max(t, 0) + Math.log1p(Math.exp(-Math.abs(t)));
      const ratio = (u, v) => ((u * u + v * v) / 2 - (u * u) / (2 * (1 + r)) - (v * v) / (2 * (1 - r))) - Math.log(1 - r * r) / 2;
      let mass = 0, joint = 0, apart = 0, right = 0;
      // u and v are the sum and the difference of the two, each over the root of 2: independent, of variance 1 ± r.
      for (let i = 0; i <= steps; i++) {
        for (let j = 0; j <= steps; j++) {
          const [a, b] = [of(i), of(j)], weight = Math.exp(-(a * a + b * b) / 2);
          const paired = ratio(a * Math.sqrt(1 + r), b * Math.sqrt(1 - r)), other = ratio(a, b);
          mass += weight;
          joint -= weight * softplus(-paired);
          apart += weight * softplus(other);
          right += weight * ((paired > 0) + (paired === 0) / 2 + (other < 0) + (other === 0) / 2) / 2;
        }
      }
      return { nats: compute.nats({ r }), estimate: (joint - apart) / mass, right: right / mass };
    },
  };

  const figures = {
    information: {
      title: "Shared information, and what T can see of it",
      sliders: { r: ["Correlation of the two", 0, 0.95, 0.01, 0.6] },
      axes: { x: ["correlation", 0, 1], y: ["nats", -1.5, 1.5] },
      draw: ({ r }) => ({
        curves: [
          [(x) => (x < 0.96 ? compute.nats({ r: x }) : NaN), "main"],
          [(x) => (x < 0.96 ? compute.information({ r: x }).estimate : NaN), "dashed"],
        ],
        marks: [[r, compute.nats({ r })], [r, compute.information({ r }).estimate]],
        points: 40,
      }),
      say: (at) => {
        const of = compute.information({ ...at, steps: 400 });  // a share needs a finer grid than a mean
        return `The two share ${of.nats.toFixed(3)} nats. The best T there is gives the estimate ${of.estimate.toFixed(3)} ` +
          `(dashed; at 0 correlation it is -2 log 2 = -1.386, and it never reaches 0), and tells joint pairs from ` +
          `marginal ones in ${percent(of.right)} of cases, where half is chance.`;
      },
    },
    drops: {
      title: "From the methods it has seen to the next ones",
      sliders: {},
      choices: (values) => ({ system: ["Detector", Object.keys(values)] }),
      axes: { x: ["AUC per frame, 95% interval; lower is worse, 0.5 is chance", 0.4, 1] },
      draw: ({ system }, values) => ({ rows: values[system], lines: [0.5] }),
      say: ({ system }, values) => {
        const [own, ...others] = values[system], worst = others.reduce((a, b) => (b[2] < a[2] ? b : a));
        return `${system} has ${own[2].toFixed(3)} on ${own[0]}, where it was trained. It falls furthest on ${worst[0]}, ` +
          `to ${worst[2].toFixed(3)} [${worst[1].toFixed(3)}, ${worst[3].toFixed(3)}].`;
      },
    },
    surrogate: {
      title: "The surrogate of Eq. 8",
      sliders: {
        gamma: ["Margin γ", 0.01, 1, 0.01, 0.15],
        p: ["Power p", 1.1, 5, 0.1, 2],
        difference: ["Score of the fake less that of the real", -1, 1, 0.01, -0.3],
      },
      axes: { x: ["fake's score less real's", -1, 1], y: ["cost of the pair", 0, 2] },
      draw: ({ gamma, p, difference }) => ({
        curves: [
          [(x) => (x < 0 ? 1 : 0), "dashed"],
          [(x) => compute.surrogate({ difference: x, gamma, p }), "main"],
        ],
        marks: [[difference, compute.surrogate({ difference, gamma, p })]],
      }),
      say: (at) => {
        const cost = compute.surrogate(at), order = at.difference > 0 ? "the right" : "the wrong";
        if (cost === 0) return `The fake is ahead by at least the margin: the pair costs nothing and moves nothing.`;
        const slope = at.p * (at.gamma - at.difference) ** (at.p - 1);
        return `The pair is in ${order} order and costs ${cost.toFixed(3)}; the loss pushes with a slope of ` +
          `${slope.toFixed(2)}. Dashed: the count of Eq. 6, which has no slope.`;
      },
    },
    alarms: {
      title: "What an alarm is worth",
      sliders: {
        gap: ["How far apart the scores are", 0, 4, 0.05, 1.1],
        threshold: ["Threshold", -2, 5, 0.05, 1.65],
        prior: ["Forged videos, one in", 2, 10000, 1, 1000, (x) => 1 / x, "log"],
      },
      axes: { x: ["score", -4, 8], y: ["share of videos", 0, 0.4] },
      draw: ({ gap, threshold }) => ({
        curves: [
          [(x) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI), "main"],
          [(x) => Math.exp(-((x - gap) ** 2) / 2) / Math.sqrt(2 * Math.PI), "dashed"],
        ],
        lines: [threshold],
      }),
      say: (at) => {
        const of = compute.alarms(at);
        return `AUC ${of.auc.toFixed(3)}. Right of the threshold are ${percent(of.found)} of the forged videos (dashed) ` +
          `and ${percent(of.wrong)} of the real ones. Of a million videos, ${count(of.right + of.false_)} raise an alarm, ` +
          `and ${percent(of.share)} of the alarms are right: ${count(of.false_)} are about real videos.`;
      },
    },
    beta: {
      title: "β over the training, and whom it slows",
      sliders: { done: ["Share of the training that is done, p", 0, 1, 0.01, 0.1] },
      axes: { x: ["share of the training", 0, 1], y: ["β", 0, 1] },
      draw: ({ done }) => ({
        curves: [[(x) => compute.beta({ done: x }), "main"]],
        marks: [[done, compute.beta({ done })]],
      }),
      say: (at) => {
        const b = compute.beta(at).toFixed(3);
        return `β = ${b}. By the text (§3.3), T learns at its full rate and the features receive ${b} of T's gradient. ` +
          `By Eq. 12 as printed, the features receive all of it and T learns at ${b} of its rate.`;
      },
    },
    entry: {
      title: "One entry of an attention map",
      sliders: {
        u: ["Logit of the channel, u", -6, 6, 0.1, 0],
        v: ["Logit of the place, v", -6, 6, 0.1, 0],
      },
      choices: { merge: ["How they are joined", ["sum", "product"]] },
      axes: { x: ["u", -6, 6], y: ["M", 0, 1] },
      draw: ({ u, v, merge }) => ({
        curves: [[(x) => compute.entry({ u: x, v, merge }), "main"]],
        marks: [[u, compute.entry({ u, v, merge })]],
      }),
      say: (at) => {
        const m = compute.entry(at), slope = m * (1 - m) * (at.merge === "sum" ? 1 : Math.abs(at.v));
        const state = m < 0.02 || m > 0.98 ? "saturated: it hardly moves any more"
          : slope < 0.02 ? "at a saddle: this logit has nothing to learn from until the other one leaves 0"
          : Math.abs(m - 0.5) < 0.05 ? "near .5: both parts get the same" : "useful: it weights the two parts differently, and it can still move";
        return `M = ${m.toFixed(3)}, and its slope in u is ${slope.toFixed(3)}. The entry is ${state}.`;
      },
    },
  };

  function picture(axes, drawn) {
    const [xName, x0, x1] = axes.x, [yName, y0, y1] = axes.y || ["", 0, 1];
    const x = (value) => LEFT + ((value - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (Math.min(Math.max(value, y0), y1) - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
    const parts = [element("svg:path", { class: "did-axis", d: `M${LEFT},${TOP}V${y(y0)}H${WIDTH - RIGHT}` })];
    for (let step = 0; step <= 4; step++) {
      const [atX, atY] = [x0 + (step / 4) * (x1 - x0), y0 + (step / 4) * (y1 - y0)];
      const label = (value) => String(Number(value.toFixed(2)));
      parts.push(element("svg:text", { x: x(atX), y: y(y0) + 16, "text-anchor": "middle" }, label(atX)));
      if (axes.y) parts.push(element("svg:text", { x: LEFT - 6, y: y(atY) + 4, "text-anchor": "end" }, label(atY)));
    }
    parts.push(element("svg:text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, xName));
    parts.push(element("svg:text", { x: LEFT + 6, y: TOP + 10 }, yName));
    for (const [curve, kind] of drawn.curves || []) {
      const many = drawn.points || 400;
      const points = Array.from({ length: many + 1 }, (_, i) => x0 + (i / many) * (x1 - x0)).map((at) => [at, curve(at)]);
      const shown = points.filter(([, value]) => !Number.isNaN(value));
      parts.push(element("svg:polyline", { class: `did-${kind}`, points: shown.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }));
    }
    (drawn.rows || []).forEach(([name, low, value, high], number, rows) => {
      const at = y(1 - (number + 0.7) / rows.length);
      parts.push(element("svg:text", { x: LEFT + 6, y: at - 6 }, name));
      parts.push(element("svg:path", { class: "did-main", d: `M${x(Math.max(low, x0))},${at}H${x(high)}` }));
      parts.push(element("svg:circle", { class: "did-mark", cx: x(Math.max(value, x0)), cy: at, r: 5 }));
    });
    for (const at of drawn.lines || []) parts.push(element("svg:path", { class: "did-at", d: `M${x(at)},${TOP}V${y(y0)}` }));
    for (const [atX, atY] of drawn.marks || []) parts.push(element("svg:circle", { class: "did-mark", cx: x(atX), cy: y(atY), r: 6 }));
    return parts;
  }

  function build(place) {
    const what = figures[place.dataset.figure], at = {}, controls = [], values = JSON.parse(place.dataset.values || "{}");
    const choices = typeof what.choices === "function" ? what.choices(values) : what.choices || {};
    const drawing = element("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    const said = element("p", { class: "did-said", "aria-live": "polite" });
    const show = () => {
      said.textContent = what.say(at, values);
      drawing.setAttribute("aria-label", `${what.title}. ${said.textContent}`);
      drawing.replaceChildren(...picture(what.axes, what.draw(at, values)));
    };
    for (const [name, [label, low, high, step, start, use = Number, scale]] of Object.entries(what.sliders)) {
      const log = scale === "log", to = log ? Math.log10 : Number, from = log ? (v) => Number((10 ** v).toPrecision(2)) : Number;
      const input = element("input", { type: "range", min: to(low), max: to(high), step: log ? 0.01 : step, value: to(start) });
      const number = element("output");
      const read = () => {
        const value = from(Number(input.value));
        at[name] = use(value);
        number.textContent = log ? value.toLocaleString("en") : String(value);
        input.setAttribute("aria-valuetext", number.textContent);
      };
      read();
      input.addEventListener("input", () => { read(); show(); });
      controls.push(element("label", {}, element("span", {}, label), input, number));
    }
    for (const [name, [label, options]] of Object.entries(choices)) {
      const select = element("select", {}, ...options.map((option) => element("option", {}, option)));
      at[name] = options[0];
      select.addEventListener("change", () => { at[name] = select.value; show(); });
      controls.push(element("label", {}, element("span", {}, label), select));
    }
    place.replaceChildren(element("div", { class: "did-controls" }, ...controls), drawing, said);
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", what.title);
    show();
  }

  window.didCompute = compute;
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".did-move").forEach(build));
})();
