// What the page says about the chosen token: headline, squares, figures, table.
function headline() {
  const [a, b] = state.models.map((m) => ({ m, token: tokenOf(m) })),
    h = $("headline"),
    bold = (text, m) => {
      const e = make("b", "", text);
      e.style.color = `var(--${COLOURS[m.number]})`;
      return e;
    };
  const average = (m) => whole(m.all.T / m.record.tokens.length);
  if (!b) {
    h.replaceChildren(
      "To guess the next token, ",
      bold(a.m.name, a.m),
      " touched ",
      bold(`${whole(a.token.T)} bytes`, a.m),
      `. ${besideStored(a)}`,
    );
    $("standfirst").textContent =
      `The token is ${quoted(a.token.text)}. Over all of this text (${some(a.m.record.tokens.length, "token")}) it is ${average(a.m)} bytes on average, counted from the program’s own log of loads and stores.`;
    return;
  }
  const [few, many] = a.token.T <= b.token.T ? [a, b] : [b, a],
    ratio = many.token.T / few.token.T;
  const told = ratio >= 1.05 ? [`: `, make("b", "", `${times(ratio)} times more`), "."] : ["."];
  h.replaceChildren(
    "To guess the next token, ",
    bold(few.m.name, few.m),
    " touched ",
    bold(`${whole(few.token.T)} bytes`, few.m),
    "; ",
    bold(many.m.name, many.m),
    " touched ",
    bold(whole(many.token.T), many.m),
    ...told,
  );
  $("standfirst").textContent =
    `The token is ${quoted(a.token.text)}. Over all of this text ${few.m.name} touched ${average(few.m)} bytes a token and was surprised by ${surprise(few.m)}; ${many.m.name} touched ${average(many.m)} and was surprised by ${surprise(many.m)}. Less surprise is a better guess.`;
}
const surprise = ({ all, record }) =>
  all.bytes
    ? `${(all.bits / all.bytes).toFixed(2)} bits per byte`
    : `${(all.bits / record.tokens.length).toFixed(2)} bits per token`;
function besideStored({ m, token }) {
  const ratio = m.record.model.stored / token.T;
  return `It stores ${human(m.record.model.stored)}${ratio >= 1.5 ? `: ${times(ratio)} times more` : ""}.`;
}

// Two squares whose areas are bytes: built once, so that they grow and shrink.
function buildSquares() {
  const mean = (m) => m.all.T / m.record.tokens.length;
  state.squares = state.models.map((m) => ({
    name: m.name,
    mean: mean(m),
    bytes: () => tokenOf(m).T,
    colour: `var(--${COLOURS[m.number]})`,
  }));
  if (state.squares.length === 1)
    state.squares.push({ name: "stored", mean: Infinity, bytes: () => state.models[0].record.model.stored });
  state.squares.sort((a, b) => a.mean - b.mean);
  $("squares").replaceChildren(
    ...state.squares.map((item) => {
      const box = make("div", "square"),
        words = make("div");
      item.square = make("i", item.colour ? "" : "whole");
      item.number = make("span");
      if (item.colour) item.square.style.background = item.colour;
      words.append(make("b", "", item.name), item.number);
      box.append(item.square, words);
      return box;
    }),
  );
  $("squares").setAttribute("role", "img");
  $("scale-note").textContent =
    state.models.length > 1
      ? "Areas are bytes touched for this token, to scale."
      : "Areas are bytes, to scale: touched for this token, and all that is stored.";
}

function squares() {
  const sizes = state.squares.map((item) => item.bytes()),
    most = Math.max(...sizes),
    small = Math.sqrt(Math.min(...sizes) / most);
  const GAP = 30,
    LABEL = 90,
    avail = Math.min(560, state.width - 40) - GAP,
    beside = avail - LABEL;
  const room = Math.min(270, beside * small <= LABEL ? beside : avail / (1 + small));
  state.squares.forEach(({ square, number }, i) => {
    const side = room * Math.sqrt(sizes[i] / most);
    square.style.width = square.style.height = `${side.toFixed(2)}px`;
    square.classList.toggle("dot", side < 5);
    number.textContent = sizes[i] < 1000 ? `${sizes[i]} bytes` : human(sizes[i]);
  });
  $("squares").setAttribute(
    "aria-label",
    state.squares.map((item, i) => `${item.name}: ${whole(sizes[i])} bytes`).join("; "),
  );
}

function facts(m, token) {
  const sum = m.sums[placeIn(m)],
    n = placeIn(m) + 1;
  const cost = make("div", "cost"),
    odds = make("div"),
    parts = make("div"),
    top = make("ol", "top"),
    list = make("ul", "parts");
  const big = make("div", "big", `${whole(token.T)} bytes`);
  big.style.color = `var(--${COLOURS[m.number]})`;
  big.dataset.touched = token.T;
  cost.append(
    make("h4", "", `touched for ${quoted(token.text)} (T)`),
    big,
    make("small", "", `${whole(token.U)} different bytes (U), ${some(token.lines, "line")} of 64 bytes by operator`),
  );
  const run = make(
    "small",
    "",
    `so far: ${some(n, "token")}, ${whole(sum.T)} bytes touched, ${tenths(sum.bits)} bits` +
      (sum.bytes ? `, ${(sum.bits / sum.bytes).toFixed(3)} bits per byte` : ""),
  );
  run.dataset.running = sum.T;
  cost.append(run);
  if (m.left) cost.append(make("small", "", `${some(m.left, "more token")} of the text left off`));
  odds.append(
    make(
      "h4",
      "",
      `${percent(token.p)} likely: ${token.bits.toFixed(2)} bits, ${token.nats.toFixed(2)} nats; place ${whole(token.rank)} of ${whole(m.record.model.vocab_size)}; it expected ${token.entropy.toFixed(2)} bits`,
    ),
  );
  for (const other of token.top) {
    const item = make("li", other.text === token.text ? "true" : "");
    item.style.setProperty("--share", `${(100 * other.p).toFixed(1)}%`);
    item.append(make("span", "", visible(other.text)), make("b", "", percent(other.p)));
    top.append(item);
  }
  odds.append(top);
  parts.append(make("h4", "", "by component"));
  for (const [name, of] of Object.entries(token.components).sort((x, y) => y[1].T - x[1].T)) {
    const item = make("li"),
      swatch = make("i");
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
    const t = make("table"),
      head = make("tr"),
      body = make("tbody");
    t.append(make("caption", "", `${m.name}: ${whole(tokenOf(m).T)} bytes for ${visible(tokenOf(m).text)}`));
    for (const [name, number] of [
      ["operator", 0],
      ["why", 0],
      ["tensor", 0],
      ["component", 0],
      ["read", 1],
      ["written", 1],
      ["lines", 1],
    ]) {
      const th = make("th", number ? "n" : "", name);
      th.scope = "col";
      head.append(th);
    }
    const thead = make("thead");
    thead.append(head);
    for (const number of tokenOf(m).touches) {
      const touch = m.record.touches[number],
        op = m.record.operators[touch.op];
      touch.tensors.forEach((part, i) => {
        const row = make("tr"),
          tensor = m.record.tensors[part.tensor];
        for (const text of [i ? "" : op.name, i ? "" : op.why, tensor.name, tensor.component])
          row.append(make("td", "", text));
        for (const n of [part.read, part.written, part.lines]) row.append(make("td", "n", n ? whole(n) : ""));
        body.append(row);
      });
    }
    t.append(thead, body);
    const scroll = make("div", "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Operators of ${m.name}`);
    scroll.append(t);
    return scroll;
  };
  $("table-body").replaceChildren(...state.models.map(rows));
}
