// The page: chooses a token, and shows what it cost.  Text of others only ever becomes text (textContent).
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, className = "", text = "") => { const e = document.createElement(tag); if (className) e.className = className; if (text) e.textContent = text; return e; };
  const numbers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 }), whole = (n) => numbers.format(n);
  const human = (n) => (n < 1000 ? `${whole(n)} B` : n < 1e6 ? `${(n / 1e3).toPrecision(3)} kB` : n < 1e9 ? `${(n / 1e6).toPrecision(3)} MB` : `${(n / 1e9).toPrecision(3)} GB`);
  const times = (n) => (n >= 10 ? whole(n) : n.toPrecision(2));
  const percent = (p) => (p >= 0.1 ? `${(100 * p).toFixed(0)} %` : p >= 0.001 ? `${(100 * p).toFixed(1)} %` : p > 0 ? `${(100 * p).toPrecision(1)} %` : "0 %");
  const visible = (text) => text.replace(/\r/g, "␍").replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/ /g, "␣").replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/\u007f/g, "␡").replace(/[\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, (c) => `‹U+${c.charCodeAt(0).toString(16).toUpperCase()}›`);
  const quoted = (text) => `“${visible(text).replace(/␣/g, " ").trim() || visible(text)}”`;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const TIME = 60; // height of the operators
  const COLOURS = ["first", "second"];
  const state = { models: [], of: 0, at: 0, by: "bits", log: false, playing: 0, dirty: false, chosen: null, worst: 0 };

  // ---- what is known about a model, beside its record
  function model(record, number) {
    let T = 0, bits = 0, bytes = 0;
    const sums = record.tokens.map((token) => ({ T: (T += token.T), bits: (bits += token.bits), bytes: (bytes += token.bytes) }));
    return { record, number, sums, name: record.model.name };
  }

  // The place in another model's tokens that holds the same byte of the text.
  function placeIn(other) {
    const chosen = state.models[state.of].record.tokens[state.at], tokens = other.record.tokens;
    if (other === state.models[state.of]) return state.at;
    let low = 0, high = tokens.length - 1;
    while (low < high) { const middle = (low + high + 1) >> 1; if (tokens[middle].at <= chosen.at) low = middle; else high = middle - 1; }
    return low;
  }
  const tokenOf = (m) => m.record.tokens[placeIn(m)];

  // ---- opening
  function open(records) {
    stop();
    state.models = records.map(model);
    const names = state.models.map((m) => m.name);
    if (names.length === 2 && names[0] === names[1]) state.models.forEach((m, i) => { m.name += ` (${"AB"[i]})`; });
    Object.assign(state, { of: 0, at: 0, chosen: null });
    $("of").replaceChildren(...state.models.map((m, i) => { const o = make("option", "", m.name); o.value = i; return o; }));
    $("of-label").hidden = state.models.length < 2;
    $("film").hidden = $("scale").hidden = false;
    $("models").className = state.models.length > 1 ? "models" : "models one";
    $("models").replaceChildren(...state.models.map(frame));
    state.at = goodPlace(records[0].tokens);
    buildSquares();
    noteOnMap();
    write();
    resize();
    choose(state.at, false);
    new ResizeObserver(resize).observe($("models"));
  }

  // A whole word in the middle: what a reader who has just come is shown.
  function goodPlace(tokens) {
    const middle = Math.floor(tokens.length / 2), isWord = (i) => /^ \p{L}{3,}$/u.test(tokens[i].text);
    const words = tokens.map((_, i) => i).filter(isWord).sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    return words.length ? words[0] : middle;
  }

  function frame(m) {
    const box = make("article", "model"), about = m.record.model;
    box.append(make("h3", "", m.name));
    box.append(make("p", "", `${about.family} · ${human(about.stored)} stored · ${whole(about.parameters)} parameters · ${human(about.state)} of state · a window of ${whole(about.context)} tokens`));
    const film = make("div", "film");
    m.map = make("canvas", "map"); m.time = make("canvas", "time");
    for (const [canvas, what] of [[m.map, "Map of the memory"], [m.time, "Operators in their order"]]) {
      canvas.tabIndex = 0; canvas.setAttribute("role", "img");
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
      const width = m.map.parentElement.clientWidth, height = Math.round(Math.max(230, Math.min(560, width * (width > 620 ? 0.56 : 0.8))));
      m.plan = Film.scene(m.record, width - 20, height - 20, state.log ? 1 : Film.extent(m.record, false) / most, state.log);
      fit(m.map, width, height); fit(m.time, width, TIME);
      m.width = width;
    }
    redraw();
  }
  function fit(canvas, width, height) {
    const sharp = Math.min(3, window.devicePixelRatio || 1);
    canvas.width = Math.round(width * sharp); canvas.height = Math.round(height * sharp);
    canvas.style.height = `${height}px`;
    canvas.getContext("2d").setTransform(sharp, 0, 0, sharp, 0, 0);
  }

  // ---- the text
  function write() {
    const { record } = state.models[state.of], box = $("tokens");
    const key = state.by === "bits" ? "bits" : "T", values = record.tokens.map((token) => token[key]);
    const low = key === "bits" ? 0 : Math.min(...values), high = Math.max(...values, low + 1e-9);
    state.spans = record.tokens.map((token, i) => {
      const span = make("span", "", shown(token.text)), share = Math.sqrt((Math.min(values[i], high) - low) / (high - low));
      if (token.text.startsWith("‹") || /[\u0000-\u0008\u000b-\u001f\u007f]/.test(token.text)) span.classList.add("odd");
      span.id = `t${i}`; span.dataset.i = i;
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
  const shown = (text) => (text.includes("\n") ? visible(text).replace(/␣/g, " ").replace(/⏎/g, "⏎\n") : visible(text).replace(/␣/g, " "));

  // ---- choosing
  function choose(i, told = true) {
    const n = state.models[state.of].record.tokens.length, before = state.spans[state.at];
    if (before) before.setAttribute("aria-selected", "false");
    state.at = Math.max(0, Math.min(n - 1, i));
    const span = state.spans[state.at], box = $("tokens");
    span.setAttribute("aria-selected", "true");
    box.setAttribute("aria-activedescendant", span.id);
    if (span.offsetTop < box.scrollTop || span.offsetTop + span.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = span.offsetTop - box.clientHeight / 2;
    $("place").value = state.at + 1;
    $("place").setAttribute("aria-valuetext", `token ${state.at + 1} of ${n}: ${visible(span.textContent)}`);
    $("counter").textContent = `${whole(state.at + 1)} of ${whole(n)}`;
    redraw();
    if (told) say(`Token ${state.at + 1} of ${n}, ${visible(span.textContent)}: ` + state.models.map((m) => `${m.name} touched ${whole(tokenOf(m).T)} bytes, ${tokenOf(m).bits.toFixed(1)} bits`).join("; "));
  }
  const say = (text) => { $("live").textContent = text; };

  function play() {
    if (state.playing) { stop(); return; }
    if (state.at === state.spans.length - 1) choose(0, false);
    let next = performance.now();
    const pace = () => (still.matches ? 600 : 140);
    const step = (now) => {
      if (now >= next) {
        if (state.at >= state.spans.length - 1) { stop(); return; }
        choose(state.at + 1, false);
        next = Math.max(next + pace(), now);
      }
      state.playing = requestAnimationFrame(step);
    };
    state.playing = requestAnimationFrame(step);
    $("play").textContent = "Pause"; $("play").setAttribute("aria-pressed", "true");
  }
  function stop() {
    cancelAnimationFrame(state.playing);
    state.playing = 0;
    $("play").textContent = "Play"; $("play").setAttribute("aria-pressed", "false");
    if (state.models.length) choose(state.at);
  }

  // ---- drawing: once per frame at most
  function redraw() {
    if (state.dirty) return;
    state.dirty = true;
    requestAnimationFrame(() => { state.dirty = false; const began = performance.now(); show(); state.worst = Math.max(state.worst, performance.now() - began); $("xray").dataset.worst = state.worst.toFixed(1); });
  }

  function show() {
    const longest = Math.max(...state.models.map((m) => Film.length(m.record, tokenOf(m), state.log)));
    for (const m of state.models) {
      const token = tokenOf(m), chosen = state.chosen && state.chosen.m === m ? state.chosen : null;
      Film.light(m.plan, m.record, token);
      const map = m.map.getContext("2d");
      map.clearRect(0, 0, m.width, m.map.height);
      map.save(); map.translate(10, 10);
      Film.draw(map, m.plan, chosen && chosen.box);
      map.restore();
      const own = state.log ? Film.length(m.record, token, true) : longest;
      m.spans = Film.timeline(m.record, token, m.width, (m.width - 20) / own, state.log);
      const time = m.time.getContext("2d");
      time.clearRect(0, 0, m.width, TIME);
      time.save(); time.translate(10, 0);
      Film.drawTimeline(time, m.spans, TIME, chosen && chosen.number !== undefined ? m.spans[chosen.number] : null, `${whole(m.spans.length)} operators, one after the other`);
      time.restore();
      facts(m, token);
      for (const canvas of [m.map, m.time]) canvas.setAttribute("aria-label", `${canvas.dataset.what}: ${whole(token.T)} bytes touched for ${visible(token.text)}. Up and down arrows go through its parts.`);
    }
    headline();
    squares();
    if ($("table").open) table();
  }

  function headline() {
    const [a, b] = state.models.map((m) => ({ m, token: tokenOf(m) })), h = $("headline"), bold = (text, m) => { const e = make("b", "", text); e.style.color = `var(--${COLOURS[m.number]})`; return e; };
    const average = (m) => whole(m.record.totals.T / m.record.tokens.length);
    if (!b) {
      h.replaceChildren("To guess the next token, ", bold(a.m.name, a.m), " touched ", bold(`${whole(a.token.T)} bytes`, a.m), `. ${besideStored(a)}`);
      $("standfirst").textContent = `The token is ${quoted(a.token.text)}. Over all ${whole(a.m.record.tokens.length)} tokens of this text it is ${average(a.m)} bytes on average, counted from the program’s own log of loads and stores.`;
      return;
    }
    const [few, many] = a.token.T <= b.token.T ? [a, b] : [b, a], ratio = many.token.T / few.token.T;
    const told = ratio >= 1.05 ? [`: `, make("b", "", `${times(ratio)} times more`), "."] : ["."];
    h.replaceChildren("To guess the next token, ", bold(few.m.name, few.m), " touched ", bold(`${whole(few.token.T)} bytes`, few.m), "; ", bold(many.m.name, many.m), " touched ", bold(whole(many.token.T), many.m), ...told);
    $("standfirst").textContent = `The token is ${quoted(a.token.text)}. Over all of this text it is ${average(few.m)} and ${average(many.m)} bytes a token on average, and ${few.m.record.totals.bits.toFixed(0)} and ${many.m.record.totals.bits.toFixed(0)} bits of surprise in all (fewer is better).`;
  }
  function besideStored({ m, token }) {
    const ratio = m.record.model.stored / token.T;
    return `It stores ${human(m.record.model.stored)}${ratio >= 1.5 ? `: ${times(ratio)} times more` : ""}.`;
  }

  // Two squares whose areas are bytes: built once, so that they grow and shrink.
  function buildSquares() {
    const mean = (m) => m.record.totals.T / m.record.tokens.length;
    state.squares = state.models.map((m) => ({ name: m.name, mean: mean(m), bytes: () => tokenOf(m).T, colour: `var(--${COLOURS[m.number]})` }));
    if (state.squares.length === 1) state.squares.push({ name: "stored", mean: Infinity, bytes: () => state.models[0].record.model.stored });
    state.squares.sort((a, b) => a.mean - b.mean);
    $("squares").replaceChildren(...state.squares.map((item) => {
      const box = make("div", "square"), words = make("div");
      item.square = make("i", item.colour ? "" : "whole"); item.number = make("span");
      if (item.colour) item.square.style.background = item.colour;
      words.append(make("b", "", item.name), item.number);
      box.append(item.square, words);
      return box;
    }));
    $("squares").setAttribute("role", "img");
    $("scale-note").textContent = state.models.length > 1 ? "Areas are bytes touched for this token, to scale." : "Areas are bytes, to scale: touched for this token, and all that is stored.";
  }

  function squares() {
    const sizes = state.squares.map((item) => item.bytes()), most = Math.max(...sizes), small = Math.sqrt(Math.min(...sizes) / most);
    const GAP = 30, LABEL = 90, avail = Math.min(560, state.width - 40) - GAP, beside = avail - LABEL;
    const room = Math.min(270, beside * small <= LABEL ? beside : avail / (1 + small));
    state.squares.forEach(({ square, number }, i) => {
      const side = room * Math.sqrt(sizes[i] / most);
      square.style.width = square.style.height = `${side.toFixed(2)}px`;
      square.classList.toggle("dot", side < 5);
      number.textContent = sizes[i] < 1000 ? `${sizes[i]} bytes` : human(sizes[i]);
    });
    $("squares").setAttribute("aria-label", state.squares.map((item, i) => `${item.name}: ${whole(sizes[i])} bytes`).join("; "));
  }

  function facts(m, token) {
    const sum = m.sums[placeIn(m)], n = placeIn(m) + 1, totals = m.record.totals;
    const cost = make("div"), odds = make("div"), parts = make("div"), top = make("ol", "top"), list = make("ul", "parts");
    const big = make("div", "big", `${whole(token.T)} bytes`);
    big.style.color = `var(--${COLOURS[m.number]})`; big.dataset.touched = token.T;
    cost.append(make("h4", "", `touched for ${quoted(token.text)} (T)`), big, make("small", "", `${whole(token.U)} different bytes (U), ${whole(token.lines)} lines of 64 bytes by operator`));
    const run = make("small", "", `so far: ${whole(n)} tokens, ${whole(sum.T)} bytes touched, ${sum.bits.toFixed(1)} bits` + (sum.bytes ? `, ${(sum.bits / sum.bytes).toFixed(3)} bits per byte of text` : ""));
    run.dataset.running = sum.T;
    cost.append(run);
    if (totals.left_off) cost.append(make("small", "", `${whole(totals.left_off)} more tokens of the text are left off`));
    odds.append(make("h4", "", `${percent(token.p)} likely: ${token.bits.toFixed(2)} bits, ${token.nats.toFixed(2)} nats; place ${whole(token.rank)} of ${whole(m.record.model.vocab_size)}; it expected ${token.entropy.toFixed(2)} bits`));
    for (const other of token.top) {
      const item = make("li", other.text === token.text ? "true" : "");
      item.style.setProperty("--share", `${(100 * other.p).toFixed(1)}%`);
      item.append(make("span", "", visible(other.text)), make("b", "", percent(other.p)));
      top.append(item);
    }
    odds.append(top);
    parts.append(make("h4", "", "by component"));
    for (const [name, of] of Object.entries(token.components).sort((x, y) => y[1].T - x[1].T)) {
      const item = make("li"), swatch = make("i");
      swatch.style.background = Film.hue(m.record, name);
      item.append(swatch, make("span", "", name), make("b", "", `${whole(of.T)} B`));
      item.title = `${whole(of.U)} different bytes`;
      list.append(item);
    }
    parts.append(list);
    m.facts.replaceChildren(cost, odds, parts);
  }

  function table() {
    const rows = (m) => {
      const t = make("table"), head = make("tr"), body = make("tbody");
      t.append(make("caption", "", `${m.name}: ${whole(tokenOf(m).T)} bytes for ${visible(tokenOf(m).text)}`));
      for (const [name, number] of [["operator", 0], ["why", 0], ["tensor", 0], ["component", 0], ["read", 1], ["written", 1], ["lines", 1]]) { const th = make("th", number ? "n" : "", name); th.scope = "col"; head.append(th); }
      const thead = make("thead"); thead.append(head);
      for (const number of tokenOf(m).touches) {
        const touch = m.record.touches[number], op = m.record.operators[touch.op];
        touch.tensors.forEach((part, i) => {
          const row = make("tr"), tensor = m.record.tensors[part.tensor];
          for (const text of [i ? "" : op.name, i ? "" : op.why, tensor.name, tensor.component]) row.append(make("td", "", text));
          for (const n of [part.read, part.written, part.lines]) row.append(make("td", "n", n ? whole(n) : ""));
          body.append(row);
        });
      }
      t.append(thead, body);
      const scroll = make("div", "scroll"); scroll.tabIndex = 0; scroll.setAttribute("role", "region"); scroll.setAttribute("aria-label", `Operators of ${m.name}`);
      scroll.append(t);
      return scroll;
    };
    $("table-body").replaceChildren(...state.models.map(rows));
  }

  // ---- notes on what lies under the pointer
  function rowsOf(tensor, runs) {
    const found = [];
    for (const [first, length, count = 1, stride = 0] of runs) {
      const low = Math.floor(first / tensor.row_stride), high = Math.floor((first + (count - 1) * stride + length - 1) / tensor.row_stride);
      if (found.length && low <= found[found.length - 1][1] + 1) found[found.length - 1][1] = high; else found.push([low, high]);
    }
    const told = found.slice(0, 4).map(([a, b]) => (a === b ? whole(a) : `${whole(a)}–${whole(b)}`)).join(", ");
    return told + (found.length > 4 ? ` and ${found.length - 4} more stretches` : "");
  }

  function about(m, box, k) {
    const tensor = box.tensor, token = tokenOf(m), lines = [];
    const role = tensor.kind === "state" ? (tensor.kept ? "state, kept from token to token" : "activation, gone with the token") : tensor.kind;
    lines.push(`${tensor.component} · ${role}`, `${whole(tensor.rows)} rows of ${whole(tensor.row_bytes)} bytes, ${tensor.format}: ${whole(tensor.bytes)} bytes`);
    let read = 0, written = 0;
    const why = [];
    for (const number of token.touches) {
      const touch = m.record.touches[number], op = m.record.operators[touch.op];
      for (const part of touch.tensors) {
        if (part.tensor !== box.index) continue;
        read += part.read; written += part.written;
        const did = [part.read ? `reads ${whole(part.read)} B, ${tensor.rows > 1 ? `rows ${rowsOf(tensor, part.reads)}` : "the row"}` : "", part.written ? `writes ${whole(part.written)} B, ${tensor.rows > 1 ? `rows ${rowsOf(tensor, part.writes)}` : "the row"}` : ""].filter(Boolean).join("; ");
        why.push(`${op.name} ${did}: ${op.why}`);
      }
    }
    lines.push(read + written ? `for this token: ${whole(read)} B read, ${whole(written)} B written` : "not touched for this token");
    lines.push(...why.slice(0, 4));
    if (why.length > 4) lines.push(`and ${why.length - 4} more operators`);
    if (k !== undefined && box.n > 1) {
      const [low, end] = Film.bytesOfCell(box, k);
      lines.push(`this cell: bytes ${whole(low)} to ${whole(Math.min(end, tensor.bytes) - 1)}`);
    }
    return [tensor.name, lines.join("\n")];
  }

  function aboutOperator(m, span) {
    const touch = m.record.touches[span.number], op = m.record.operators[touch.op];
    return [`${op.name}: ${whole(span.bytes)} bytes`, [op.why, ...touch.tensors.map((part) => `${m.record.tensors[part.tensor].name}: ${[part.read ? `${whole(part.read)} B read` : "", part.written ? `${whole(part.written)} B written` : ""].filter(Boolean).join(", ")}`)].slice(0, 10).join("\n")];
  }

  function note([title, text], x, y, spoken) {
    const tip = $("tip");
    tip.replaceChildren(make("b", "", title), text);
    tip.hidden = false;
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    const above = y - tip.offsetHeight - 14;
    tip.style.top = `${above > 4 ? above : Math.min(y + 18, Math.max(4, innerHeight - tip.offsetHeight - 4))}px`;
    if (spoken) say(`${title}. ${text}`);
  }
  function forget() { $("tip").hidden = true; if (state.chosen) { state.chosen = null; redraw(); } }

  function listen(m) {
    const spot = (canvas, event) => { const at = canvas.getBoundingClientRect(); return [event.clientX - at.left - 10, event.clientY - at.top - 10]; };
    const overMap = (event) => {
      const [x, y] = spot(m.map, event), box = Film.at(m.plan, x, y);
      if (!box) { forget(); return; }
      note(about(m, box, Film.cellAt(m.plan, box, x, y)), event.clientX, event.clientY);
      if (!state.chosen || state.chosen.box !== box) { state.chosen = { m, box }; redraw(); }
    };
    const overTime = (event) => {
      const [x] = spot(m.time, event), number = m.spans.findIndex((span) => x >= span.x - 1 && x < span.x + Math.max(span.w, 2));
      if (number < 0) { forget(); return; }
      note(aboutOperator(m, m.spans[number]), event.clientX, event.clientY);
      if (!state.chosen || state.chosen.number !== number) { state.chosen = { m, number }; redraw(); }
    };
    for (const [canvas, over, among] of [[m.map, overMap, () => m.plan.boxes], [m.time, overTime, () => m.spans]]) {
      canvas.addEventListener("pointermove", over); canvas.addEventListener("pointerdown", over);
      canvas.addEventListener("pointerleave", forget); canvas.addEventListener("blur", forget);
      canvas.addEventListener("keydown", (event) => {
        if (event.key === "Escape") { forget(); return; }
        if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
        event.preventDefault();
        const list = among(), at = canvas.getBoundingClientRect();
        const from = state.chosen && state.chosen.m === m ? state.chosen.key ?? -1 : -1, key = (from + (event.key === "ArrowDown" ? 1 : list.length - 1) + (from < 0 && event.key === "ArrowUp" ? 1 : 0)) % list.length;
        if (canvas === m.map) { const box = list[key]; state.chosen = { m, box, key }; note(about(m, box), at.left + m.plan.x + box.x, at.top + box.y, true); } else { state.chosen = { m, number: key, key }; note(aboutOperator(m, list[key]), at.left + list[key].x, at.top, true); }
        redraw();
      });
    }
  }

  // ---- controls
  function press(on, off) { on.setAttribute("aria-pressed", "true"); off.setAttribute("aria-pressed", "false"); }
  $("by-bits").addEventListener("click", () => { state.by = "bits"; press($("by-bits"), $("by-bytes")); write(); choose(state.at, false); });
  $("by-bytes").addEventListener("click", () => { state.by = "bytes"; press($("by-bytes"), $("by-bits")); write(); choose(state.at, false); });
  $("linear").addEventListener("click", () => { state.log = false; press($("linear"), $("log")); noteOnMap(); resize(); });
  $("log").addEventListener("click", () => { state.log = true; press($("log"), $("linear")); noteOnMap(); resize(); });
  function noteOnMap() {
    $("map-note").textContent = (state.log ? "Areas and lengths grow with the logarithm of bytes, so that small tensors can be seen." : "Areas are bytes" + (state.models.length > 1 ? ", on one scale for both models" : "") + "; so are the lengths of the operators below each map.")
      + " At the left what is stored, at the right what lives while decoding. A cell lights up when any of its 64-byte lines was touched; the halo only says where to look. Point at a rectangle, or move to a map and press the up and down arrows.";
  }
  $("of").addEventListener("change", (event) => {
    const next = Number(event.target.value), place = placeIn(state.models[next]);
    state.of = next; state.at = 0; write(); choose(place);
  });
  $("tokens").addEventListener("click", (event) => { const i = event.target.dataset ? event.target.dataset.i : undefined; if (i !== undefined) { if (state.playing) stop(); choose(Number(i)); } });
  $("back").addEventListener("click", () => choose(state.at - 1));
  $("on").addEventListener("click", () => choose(state.at + 1));
  $("play").addEventListener("click", play);
  $("place").addEventListener("input", (event) => choose(Number(event.target.value) - 1));
  $("table").addEventListener("toggle", () => { if (state.models.length) redraw(); });
  document.addEventListener("keydown", (event) => {
    if (!state.models.length || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("textarea, select, input")) return;
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const inText = document.activeElement === $("tokens");
    if (step && (Number.isFinite(step) || inText)) { event.preventDefault(); if (state.playing) stop(); choose(state.at + step); }
    else if (inText && (event.key === " " || event.key === "Enter")) { event.preventDefault(); play(); }
  });

  // ---- served: models and records come from the page's own server
  async function fetched(path, body) {
    const key = $("ask-key").value, headers = { ...(body ? { "Content-Type": "application/json" } : {}), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
    const found = await answer.json().catch(() => ({}));
    if (answer.status === 401 || answer.status === 403) $("ask-key-label").hidden = false;
    if (!answer.ok) throw new Error((found.error && found.error.message) || `the server answered ${answer.status}`);
    return found;
  }
  function tell(text, wrong) { const s = $("status"); s.hidden = !text; s.textContent = text; s.className = wrong ? "wrong" : ""; }

  async function listModels() {
    const found = await fetched("/v1/models"), names = found.data.map((one) => one.id);
    const option = (name, value = name) => { const o = make("option", "", name); o.value = value; return o; };
    $("ask-first").replaceChildren(...names.map((name) => option(name)));
    $("ask-second").replaceChildren(option("no other", ""), ...names.map((name) => option(name)));
    if (names.length > 1) $("ask-second").value = names[1];
  }
  async function ask(event) {
    event.preventDefault();
    const text = $("ask-text").value, button = $("ask").querySelector("button");
    button.disabled = true;
    tell("Looking at every byte …");
    try {
      if (!$("ask-first").value) await listModels();
      const names = [$("ask-first").value, $("ask-second").value].filter(Boolean);
      const records = [];
      for (const name of names) records.push((await fetched("/v1/xray", { model: name, text })).xray);
      tell("");
      open(records);
    } catch (error) { tell(`${error.message}`, true); } finally { button.disabled = false; }
  }

  const given = JSON.parse($("records").textContent);
  if (given) { open(given); } else {
    $("ask").hidden = false;
    $("ask").addEventListener("submit", ask);
    listModels().catch((error) => tell(`${error.message}`, true));
  }
  noteOnMap();
})();
