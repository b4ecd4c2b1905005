// The page: opens records, chooses a token, draws once per frame, listens.
const still = matchMedia("(prefers-reduced-motion: reduce)");
const TIME = 60; // height of the operators
const COLOURS = ["first", "second"];
const state = { models: [], of: 0, at: 0, by: "bits", log: false, playing: 0, dirty: false, chosen: null, worst: 0 };

// ---- what is known about a model, beside its record
// Models may see a text to different places: what only one of them saw is left off, so that all is said of one text.
function endOf(records) {
  return Math.min(...records.map(({ tokens }) => tokens[tokens.length - 1].at + tokens[tokens.length - 1].bytes));
}
function model(given, number, end) {
  const tokens = end > 0 ? given.tokens.filter((token) => token.at < end) : given.tokens;
  const left = given.totals.left_off + given.tokens.length - tokens.length,
    record = { ...given, tokens };
  let T = 0,
    bits = 0,
    bytes = 0;
  const sums = record.tokens.map((token) => ({
    T: (T += token.T),
    bits: (bits += token.bits),
    bytes: (bytes += token.bytes),
  }));
  return { record, number, sums, left, all: sums[sums.length - 1], name: record.model.name };
}

// The place in another model's tokens that holds the same byte of the text.
function placeIn(other) {
  const chosen = state.models[state.of].record.tokens[state.at],
    tokens = other.record.tokens;
  if (other === state.models[state.of]) return state.at;
  let low = 0,
    high = tokens.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tokens[middle].at <= chosen.at) low = middle;
    else high = middle - 1;
  }
  return low;
}
const tokenOf = (m) => m.record.tokens[placeIn(m)];

// ---- opening
function open(records) {
  stop();
  const end = endOf(records);
  state.models = records.map((record, number) => model(record, number, end));
  const names = state.models.map((m) => m.name);
  if (names.length === 2 && names[0] === names[1])
    state.models.forEach((m, i) => {
      m.name += ` (${"AB"[i]})`;
    });
  Object.assign(state, { of: 0, at: 0, chosen: null });
  $("of").replaceChildren(
    ...state.models.map((m, i) => {
      const o = make("option", "", m.name);
      o.value = i;
      return o;
    }),
  );
  $("of-label").hidden = state.models.length < 2;
  $("film").hidden = $("scale").hidden = false;
  $("models").className = state.models.length > 1 ? "models" : "models one";
  $("models").replaceChildren(...state.models.map(frame));
  state.at = goodPlace(state.models[0].record.tokens);
  buildSquares();
  noteOnMap();
  write();
  resize();
  choose(state.at, false);
}

// A whole word in the middle: what a reader who has just come is shown.
function goodPlace(tokens) {
  const middle = Math.floor(tokens.length / 2),
    isWord = (i) => /^ \p{L}{3,}$/u.test(tokens[i].text);
  const words = tokens
    .map((_, i) => i)
    .filter(isWord)
    .sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
  return words.length ? words[0] : middle;
}

function frame(m) {
  const box = make("article", "model"),
    about = m.record.model;
  box.append(make("h3", "", m.name));
  box.append(
    make(
      "p",
      "",
      `${about.family === m.name ? "" : `${about.family} · `}${human(about.stored)} stored · ${whole(about.parameters)} parameters · ${human(about.state)} of state · ${whole(about.context)}-token window`,
    ),
  );
  const film = make("div", "film");
  m.map = make("canvas", "map");
  m.time = make("canvas", "time");
  for (const [canvas, what] of [
    [m.map, "Map of the memory"],
    [m.time, "Operators in their order"],
  ]) {
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.dataset.what = `${what} of ${m.name}`;
  }
  film.append(m.map, m.time);
  m.facts = make("div", "facts");
  box.append(film, m.facts);
  listen(m);
  return box;
}

// ---- sizes
function resize() {
  if (!state.models.length) return;
  state.width = document.documentElement.clientWidth;
  const most = Math.max(...state.models.map((m) => Film.extent(m.record, state.log)));
  for (const m of state.models) {
    const width = m.map.parentElement.clientWidth,
      height = Math.round(Math.max(230, Math.min(560, width * (width > 480 ? 0.58 : 0.8))));
    m.plan = Film.scene(
      m.record,
      width - 20,
      height - 20,
      state.log ? 1 : Film.extent(m.record, false) / most,
      state.log,
    );
    fit(m.map, width, height);
    fit(m.time, width, TIME);
    m.width = width;
  }
  redraw();
}
function fit(canvas, width, height) {
  const sharp = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = Math.round(width * sharp);
  canvas.height = Math.round(height * sharp);
  canvas.style.height = `${height}px`;
  canvas.getContext("2d").setTransform(sharp, 0, 0, sharp, 0, 0);
}

// ---- the text
function write() {
  const { record } = state.models[state.of],
    box = $("tokens");
  const key = state.by === "bits" ? "bits" : "T",
    values = record.tokens.map((token) => token[key]);
  const low = key === "bits" ? 0 : Math.min(...values),
    high = Math.max(...values, low + 1e-9);
  state.spans = record.tokens.map((token, i) => {
    const text = shown(token.text),
      lead = /^ \S/.test(text) ? 1 : 0, // a space that may hang at the end of a line is not framed
      span = make("span", "", text.slice(0, lead)),
      share = Math.sqrt((Math.min(values[i], high) - low) / (high - low));
    if (token.text.startsWith("‹") || /[\u0000-\u0008\u000b-\u001f\u007f]/.test(token.text))
      span.classList.add("odd");
    span.append(make("i", "", text.slice(lead)));
    span.id = `t${i}`;
    span.dataset.i = i;
    span.setAttribute("role", "option");
    span.setAttribute("aria-selected", "false");
    span.setAttribute("aria-label", `${visible(token.text)}, ${whole(token.T)} bytes, ${token.bits.toFixed(1)} bits`);
    span.style.backgroundColor = `color-mix(in srgb, var(--${key}) ${Math.round(4 + 58 * share)}%, transparent)`;
    return span;
  });
  const lead = make("span", "lead", `${visible(record.first)} `);
  lead.setAttribute("aria-hidden", "true");
  box.replaceChildren(lead, ...state.spans);
  $("place").max = record.tokens.length;
}

// ---- choosing
function choose(i, told = true) {
  const n = state.models[state.of].record.tokens.length,
    before = state.spans[state.at];
  if (before) before.setAttribute("aria-selected", "false");
  state.at = Math.max(0, Math.min(n - 1, i));
  const span = state.spans[state.at],
    box = $("tokens");
  span.setAttribute("aria-selected", "true");
  box.setAttribute("aria-activedescendant", span.id);
  if (span.offsetTop < box.scrollTop || span.offsetTop + span.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = span.offsetTop - box.clientHeight / 2;
  $("place").value = state.at + 1;
  $("place").setAttribute("aria-valuetext", `token ${state.at + 1} of ${n}: ${visible(span.textContent)}`);
  $("counter").textContent = `${whole(state.at + 1)} of ${whole(n)}`;
  redraw();
  if (told)
    say(
      `Token ${state.at + 1} of ${n}, ${visible(span.textContent)}: ` +
        state.models
          .map((m) => `${m.name} touched ${whole(tokenOf(m).T)} bytes, ${tokenOf(m).bits.toFixed(1)} bits`)
          .join("; "),
    );
}
const say = (text) => {
  $("live").textContent = text;
};

function play() {
  if (state.playing) {
    stop();
    return;
  }
  if (state.at === state.spans.length - 1) choose(0, false);
  let next = performance.now();
  const pace = () => (still.matches ? 600 : 140);
  const step = (now) => {
    if (now >= next) {
      if (state.at >= state.spans.length - 1) {
        stop();
        return;
      }
      choose(state.at + 1, false);
      next = Math.max(next + pace(), now);
    }
    state.playing = requestAnimationFrame(step);
  };
  state.playing = requestAnimationFrame(step);
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
}
function stop() {
  cancelAnimationFrame(state.playing);
  state.playing = 0;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
  if (state.models.length) choose(state.at);
}

// ---- drawing: once per frame at most
function redraw() {
  if (state.dirty) return;
  state.dirty = true;
  requestAnimationFrame(() => {
    state.dirty = false;
    const began = performance.now();
    show();
    state.worst = Math.max(state.worst, performance.now() - began);
    $("xray").dataset.worst = state.worst.toFixed(1);
  });
}

function show() {
  const longest = Math.max(...state.models.map((m) => Film.length(m.record, tokenOf(m), state.log)));
  for (const m of state.models) {
    const token = tokenOf(m),
      chosen = state.chosen && state.chosen.m === m ? state.chosen : null;
    Film.light(m.plan, m.record, token);
    const map = m.map.getContext("2d");
    map.clearRect(0, 0, m.width, m.map.height);
    map.save();
    map.translate(10, 10);
    Film.draw(map, m.plan, chosen && chosen.box);
    map.restore();
    const own = state.log ? Film.length(m.record, token, true) : longest;
    m.spans = Film.timeline(m.record, token, m.width, (m.width - 20) / own, state.log);
    const time = m.time.getContext("2d");
    time.clearRect(0, 0, m.width, TIME);
    time.save();
    time.translate(10, 0);
    Film.drawTimeline(
      time,
      m.spans,
      TIME,
      chosen && chosen.number !== undefined ? m.spans[chosen.number] : null,
      `${whole(m.spans.length)} operators, one after the other`,
    );
    time.restore();
    facts(m, token);
    for (const canvas of [m.map, m.time])
      canvas.setAttribute(
        "aria-label",
        `${canvas.dataset.what}: ${whole(token.T)} bytes touched for ${visible(token.text)}. Up and down arrows go through its parts.`,
      );
  }
  headline();
  squares();
  if ($("table").open) table();
}

// ---- controls
function press(on, off) {
  on.setAttribute("aria-pressed", "true");
  off.setAttribute("aria-pressed", "false");
}
$("by-bits").addEventListener("click", () => {
  state.by = "bits";
  press($("by-bits"), $("by-bytes"));
  write();
  choose(state.at, false);
});
$("by-bytes").addEventListener("click", () => {
  state.by = "bytes";
  press($("by-bytes"), $("by-bits"));
  write();
  choose(state.at, false);
});
$("linear").addEventListener("click", () => {
  state.log = false;
  press($("linear"), $("log"));
  noteOnMap();
  resize();
});
$("log").addEventListener("click", () => {
  state.log = true;
  press($("log"), $("linear"));
  noteOnMap();
  resize();
});
function noteOnMap() {
  $("map-note").textContent =
    (state.log
      ? "Areas and lengths grow with the logarithm of bytes, so that small tensors can be seen."
      : "Areas are bytes" +
        (state.models.length > 1 ? ", on one scale for both models" : "") +
        "; so are the lengths of the operators below each map.") +
    " At the left what is stored, at the right what lives while decoding. A cell lights up when any of its 64-byte lines was touched; the halo only says where to look. Point at a rectangle, or move to a map and press the up and down arrows.";
}
$("of").addEventListener("change", (event) => {
  const next = Number(event.target.value),
    place = placeIn(state.models[next]);
  state.of = next;
  state.at = 0;
  write();
  choose(place);
});
$("tokens").addEventListener("click", (event) => {
  const span = event.target.closest("[data-i]");
  if (!span) return;
  if (state.playing) stop();
  choose(Number(span.dataset.i));
});
$("back").addEventListener("click", () => choose(state.at - 1));
$("on").addEventListener("click", () => choose(state.at + 1));
$("play").addEventListener("click", play);
$("place").addEventListener("input", (event) => choose(Number(event.target.value) - 1));
$("table").addEventListener("toggle", () => {
  if (state.models.length) redraw();
});
document.addEventListener("keydown", (event) => {
  if (
    !state.models.length ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    event.target.closest("textarea, select, input")
  )
    return;
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  const inText = document.activeElement === $("tokens");
  if (step && (Number.isFinite(step) || inText)) {
    event.preventDefault();
    if (state.playing) stop();
    choose(state.at + step);
  } else if (inText && (event.key === " " || event.key === "Enter")) {
    event.preventDefault();
    play();
  }
});

new ResizeObserver(resize).observe($("models"));
const given = JSON.parse($("records").textContent);
if (given) {
  open(given);
} else {
  $("ask").hidden = false;
  $("ask").addEventListener("submit", ask);
  $("ask-key-label").hidden = !("key" in $("xray").dataset);
  if ($("ask-key-label").hidden) look();
  else tell("This server wants a key: type it in and press X-ray.");
}
noteOnMap();
