// Notes on what lies under the pointer, or was chosen with the keys.
function rowsOf(tensor, runs) {
  const found = [];
  for (const [first, length, count = 1, stride = 0] of runs) {
    const low = Math.floor(first / tensor.row_stride),
      high = Math.floor((first + (count - 1) * stride + length - 1) / tensor.row_stride);
    if (found.length && low <= found[found.length - 1][1] + 1) found[found.length - 1][1] = high;
    else found.push([low, high]);
  }
  const told = found
    .slice(0, 4)
    .map(([a, b]) => (a === b ? whole(a) : `${whole(a)}–${whole(b)}`))
    .join(", ");
  return told + (found.length > 4 ? ` and ${found.length - 4} more stretches` : "");
}

function about(m, box, k) {
  const tensor = box.tensor,
    token = tokenOf(m),
    lines = [];
  const role =
    tensor.kind === "state"
      ? tensor.kept
        ? "state, kept from token to token"
        : "activation, gone with the token"
      : tensor.kind;
  lines.push(
    `${tensor.component} · ${role}`,
    `${some(tensor.rows, "row")} of ${some(tensor.row_bytes, "byte")}, ${tensor.format}: ${some(tensor.bytes, "byte")}`,
  );
  let read = 0,
    written = 0;
  const why = [];
  for (const number of token.touches) {
    const touch = m.record.touches[number],
      op = m.record.operators[touch.op];
    for (const part of touch.tensors) {
      if (part.tensor !== box.index) continue;
      read += part.read;
      written += part.written;
      const did = [
        part.read
          ? `reads ${whole(part.read)} B, ${tensor.rows > 1 ? `rows ${rowsOf(tensor, part.reads)}` : "the row"}`
          : "",
        part.written
          ? `writes ${whole(part.written)} B, ${tensor.rows > 1 ? `rows ${rowsOf(tensor, part.writes)}` : "the row"}`
          : "",
      ]
        .filter(Boolean)
        .join("; ");
      why.push(`${op.name} ${did}: ${op.why}`);
    }
  }
  lines.push(
    read + written
      ? `for this token: ${whole(read)} B read, ${whole(written)} B written`
      : "not touched for this token",
  );
  lines.push(...why.slice(0, 4));
  if (why.length > 4) lines.push(`and ${why.length - 4} more operators`);
  if (k !== undefined && box.n > 1) {
    const [low, end] = Film.bytesOfCell(box, k);
    lines.push(`this cell: bytes ${whole(low)} to ${whole(Math.min(end, tensor.bytes) - 1)}`);
  }
  return [tensor.name, lines.join("\n")];
}

function aboutOperator(m, span) {
  const touch = m.record.touches[span.number],
    op = m.record.operators[touch.op];
  return [
    `${op.name}: ${whole(span.bytes)} bytes`,
    [
      op.why,
      ...touch.tensors.map(
        (part) =>
          `${m.record.tensors[part.tensor].name}: ${[part.read ? `${whole(part.read)} B read` : "", part.written ? `${whole(part.written)} B written` : ""].filter(Boolean).join(", ")}`,
      ),
    ]
      .slice(0, 10)
      .join("\n"),
  ];
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
function forget() {
  $("tip").hidden = true;
  if (state.chosen) {
    state.chosen = null;
    redraw();
  }
}

function listen(m) {
  const spot = (canvas, event) => {
    const at = canvas.getBoundingClientRect();
    return [event.clientX - at.left - 10, event.clientY - at.top - 10];
  };
  const overMap = (event) => {
    const [x, y] = spot(m.map, event),
      box = Film.at(m.plan, x, y);
    if (!box) {
      forget();
      return;
    }
    note(about(m, box, Film.cellAt(m.plan, box, x, y)), event.clientX, event.clientY);
    if (!state.chosen || state.chosen.box !== box) {
      state.chosen = { m, box };
      redraw();
    }
  };
  const overTime = (event) => {
    const [x] = spot(m.time, event),
      number = m.spans.findIndex((span) => x >= span.x - 1 && x < span.x + Math.max(span.w, 2));
    if (number < 0) {
      forget();
      return;
    }
    note(aboutOperator(m, m.spans[number]), event.clientX, event.clientY);
    if (!state.chosen || state.chosen.number !== number) {
      state.chosen = { m, number };
      redraw();
    }
  };
  for (const [canvas, over, among] of [
    [m.map, overMap, () => m.plan.boxes],
    [m.time, overTime, () => m.spans],
  ]) {
    canvas.addEventListener("pointermove", over);
    canvas.addEventListener("pointerdown", over);
    canvas.addEventListener("pointerleave", forget);
    canvas.addEventListener("blur", forget);
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        forget();
        return;
      }
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      event.preventDefault();
      const list = among(),
        at = canvas.getBoundingClientRect();
      const from = state.chosen && state.chosen.m === m ? (state.chosen.key ?? -1) : -1,
        key =
          (from + (event.key === "ArrowDown" ? 1 : list.length - 1) + (from < 0 && event.key === "ArrowUp" ? 1 : 0)) %
          list.length;
      if (canvas === m.map) {
        const box = list[key];
        state.chosen = { m, box, key };
        note(about(m, box), at.left + m.plan.x + box.x, at.top + box.y, true);
      } else {
        state.chosen = { m, number: key, key };
        note(aboutOperator(m, list[key]), at.left + list[key].x, at.top, true);
      }
      redraw();
    });
  }
}
