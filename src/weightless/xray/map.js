// The film: a model's memory, in which the cells that a token touched light up, and its operators below.
const Film = (() => {
  const { extent, scene, weighs, hue } = Layout;
  const INK = {
    slot: "#1e262f",
    edge: "#33404c",
    words: "#93a1ae",
    read: "#3f8fd9",
    more: "#84c1fb",
    again: "#d6ecff",
    write: "#ff8244",
    both: "#ffd0b0",
    lit: "#0c1116",
    clear: "#d5dee7",
  };

  const bytesOfCell = (box, k) => [
    Math.floor((k * box.tensor.bytes) / box.n),
    Math.max(1, Math.ceil(((k + 1) * box.tensor.bytes) / box.n)),
  ];

  // Lights the cells of the token's touches; `all` counts reads and writes of whole tensors.
  function light(plan, record, token) {
    if (plan.mini) light(plan.mini, record, token);
    for (const box of plan.boxes)
      if (box.lit) {
        box.reads.fill(0);
        box.writes.fill(0);
        box.last.fill(-1);
      }
    for (const box of plan.boxes) {
      box.lit = false;
      box.allRead = 0;
      box.allWritten = 0;
    }
    let seen = 0;
    for (const number of token.touches) {
      for (const part of record.touches[number].tensors) {
        const box = plan.boxes[part.tensor];
        box.lit = true;
        for (const [runs, isWrite] of [
          [part.reads, false],
          [part.writes, true],
        ]) {
          if (runs.length === 1 && runs[0].length === 2 && runs[0][1] >= box.tensor.bytes)
            box[isWrite ? "allWritten" : "allRead"]++;
          else mark(box, runs, isWrite ? box.writes : box.reads, ++seen);
        }
      }
    }
  }

  function mark(box, runs, counts, seen) {
    const per = box.n / box.tensor.bytes;
    for (const [first, length, count = 1, stride = 0] of runs) {
      for (let i = 0; i < count; i++) {
        const low = first + i * stride,
          end = Math.min(box.n - 1, Math.floor((low + length - 1) * per));
        for (let k = Math.floor(low * per); k <= end; k++) {
          if (box.last[k] !== seen) {
            box.last[k] = seen;
            if (counts[k] < 255) counts[k]++;
          }
        }
      }
    }
  }

  function paint(reads, writes) {
    if (writes) return reads ? INK.both : INK.write;
    return reads > 2 ? INK.again : reads > 1 ? INK.more : INK.read;
  }

  function draw(context, plan, chosen) {
    if (plan.mini) {
      draw(context, plan.mini, null);
      drawLens(context, plan);
      context.save();
      context.translate(plan.x, 0);
      draw(context, { ...plan, mini: null }, chosen);
      context.restore();
      return;
    }
    for (const g of plan.groups) drawGroup(context, g);
    for (const box of plan.boxes) {
      context.fillStyle = INK.slot;
      context.fillRect(box.x, box.y, box.w, box.h);
      if (box.lit) drawLit(context, box);
      drawWords(context, box);
    }
    if (chosen) {
      context.strokeStyle = "#ffffff";
      context.lineWidth = 1.5;
      context.strokeRect(chosen.x - 1, chosen.y - 1, chosen.w + 2, chosen.h + 2);
    }
  }

  function drawLens(context, plan) {
    const { W, H } = plan.mini;
    context.strokeStyle = INK.edge;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(W + 3, 0);
    context.lineTo(plan.x - 4, 0);
    context.moveTo(W + 3, H);
    context.lineTo(plan.x - 4, plan.H);
    context.stroke();
    context.strokeRect(-2.5, -2.5, W + 5, H + 5);
    context.fillStyle = INK.words;
    context.font = "12px system-ui, sans-serif";
    context.fillText("to scale", 0, H + 18);
    const told = `× ${plan.times < 10 ? plan.times.toFixed(1) : Math.round(plan.times).toLocaleString("en-US")}`;
    context.textAlign = "right";
    context.fillText(told, plan.x - 8, plan.H - 4);
    context.textAlign = "left";
  }

  function drawGroup(context, g) {
    if (!g.head) return;
    context.fillStyle = g.colour;
    context.fillRect(g.x + 2, g.y + 5, 8, 8);
    context.fillStyle = INK.words;
    context.font = "12px system-ui, sans-serif";
    words(context, g.name, g.x + 15, g.y + 13, g.w - 18);
  }

  function drawLit(context, box) {
    const cw = box.w / box.cols,
      ch = box.h / box.rows,
      gap = Math.min(1, cw / 5, ch / 5);
    if (box.allRead + box.allWritten) {
      context.fillStyle = paint(box.allRead, box.allWritten);
      context.fillRect(box.x, box.y, box.w, box.h);
    }
    let few = 0;
    for (let k = 0; k < box.n && few <= FEW; k++) if (box.reads[k] || box.writes[k]) few++;
    if (few > FEW) {
      drawMany(context, box);
      return;
    }
    if (!few) return;
    if (cw < 12 && !box.allRead) glow(context, box, cw, ch);
    for (let row = 0, k = 0; row < box.rows; row++) {
      for (let col = 0; col < box.cols; col++, k++) {
        if (!box.reads[k] && !box.writes[k]) continue;
        context.fillStyle = paint(box.reads[k] + box.allRead, box.writes[k] + box.allWritten);
        context.fillRect(box.x + col * cw, box.y + row * ch, Math.max(0.75, cw - gap), Math.max(0.75, ch - gap));
      }
    }
  }

  // Many cells are one small picture that is stretched: a rectangle each would take longer than a frame has.
  const FEW = 60,
    packed = new Map();
  function drawMany(context, box) {
    if (!box.picture) {
      box.picture = document.createElement("canvas");
      box.picture.width = box.cols;
      box.picture.height = box.rows;
      box.cells = new ImageData(box.cols, box.rows);
      box.points = new Uint32Array(box.cells.data.buffer);
    }
    for (let k = 0; k < box.n; k++) {
      box.points[k] =
        box.reads[k] || box.writes[k] ? point(paint(box.reads[k] + box.allRead, box.writes[k] + box.allWritten)) : 0;
    }
    box.picture.getContext("2d").putImageData(box.cells, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(box.picture, box.x, box.y, box.w, box.h);
  }
  function point(colour) {
    // a colour as the four bytes of a pixel
    if (!packed.has(colour))
      packed.set(
        colour,
        new Uint32Array(
          new Uint8Array([1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)).concat(255)).buffer,
        )[0],
      );
    return packed.get(colour);
  }

  // Single lines in a large table would be lost without a halo; it says where to look and stands for no bytes.
  function glow(context, box, cw, ch) {
    const R = Math.max(4, Math.min(HALO, box.w / 3, box.h / 3));
    const isLit = (k) => box.reads[k] || box.writes[k]; // beyond the ends: undefined
    for (let k = 0; k < box.n; k++) {
      if (!isLit(k) || (isLit(k - 1) && isLit(k + 1))) continue;
      const x = box.x + ((k % box.cols) + 0.5) * cw,
        y = box.y + (Math.floor(k / box.cols) + 0.5) * ch;
      context.drawImage(halo(box.writes[k] ? "255,130,68" : "95,170,240"), x - R, y - R, 2 * R, 2 * R);
    }
  }
  const HALO = 9,
    halos = new Map();
  function halo(colour) {
    // drawn once: circles are dear
    if (!halos.has(colour)) {
      const picture = document.createElement("canvas"),
        brush = picture.getContext("2d"),
        R = 2 * HALO;
      picture.width = picture.height = 2 * R;
      const light = brush.createRadialGradient(R, R, 2, R, R, R);
      light.addColorStop(0, `rgba(${colour},.5)`);
      light.addColorStop(0.45, `rgba(${colour},.2)`);
      light.addColorStop(1, `rgba(${colour},0)`);
      brush.fillStyle = light;
      brush.fillRect(0, 0, 2 * R, 2 * R);
      halos.set(colour, picture);
    }
    return halos.get(colour);
  }

  function drawWords(context, box) {
    if (box.w < 64 || box.h < 22) return;
    context.fillStyle = box.allRead || box.allWritten ? INK.lit : box.lit ? INK.clear : INK.words;
    context.font = "11px system-ui, sans-serif";
    words(context, box.tensor.name, box.x + 6, box.y + 14, box.w - 10, box.lit && !(box.allRead || box.allWritten));
  }

  const fitted = new Map(); // measuring is most of a frame's time
  // Over single lit cells a name has a dark edge, or it could not be read.
  function words(context, text, x, y, room, isOverCells = false) {
    const key = `${context.font}|${Math.floor(room)}|${text}`;
    if (!fitted.has(key)) fitted.set(key, shortened(context, text, room));
    if (!fitted.get(key)) return;
    if (isOverCells) {
      context.strokeStyle = INK.slot;
      context.lineWidth = 4;
      context.lineJoin = "round";
      context.strokeText(fitted.get(key), x, y);
    }
    context.fillText(fitted.get(key), x, y);
  }
  function shortened(context, text, room) {
    let shown = text;
    while (shown.length > 1 && context.measureText(shown).width > room)
      shown = shown.slice(0, shown.endsWith("…") ? -2 : -1) + "…";
    return shown.length > 2 || shown === text ? shown : "";
  }

  // The rectangle at a point, or the nearest one within some pixels (tensors may be smaller than a pixel).
  function at(plan, x, y) {
    let best = null,
      least = 36;
    x -= plan.x || 0;
    for (const box of plan.boxes) {
      const dx = Math.max(box.x - x, 0, x - box.x - box.w),
        dy = Math.max(box.y - y, 0, y - box.y - box.h),
        far = dx * dx + dy * dy;
      if (far < least) {
        least = far;
        best = box;
      }
    }
    return best;
  }

  function cellAt(plan, box, x, y) {
    x -= plan.x || 0;
    const col = Math.floor(((x - box.x) / box.w) * box.cols),
      row = Math.floor(((y - box.y) / box.h) * box.rows);
    return Math.max(
      0,
      Math.min(
        box.n - 1,
        Math.max(0, Math.min(box.rows - 1, row)) * box.cols + Math.max(0, Math.min(box.cols - 1, col)),
      ),
    );
  }

  // Operators in their order: [{x, w, number, parts: [[colour, share]]}], lengths in bytes or their logarithms.
  function timeline(record, token, width, unit, log) {
    let x = 0;
    const spans = token.touches.map((number) => {
      const parts = new Map();
      let sum = 0;
      for (const part of record.touches[number].tensors) {
        const name = record.tensors[part.tensor].component,
          n = part.read + part.written;
        parts.set(name, (parts.get(name) || 0) + n);
        sum += n;
      }
      const span = {
        number,
        bytes: sum,
        x,
        w: weighs(sum, log) * unit,
        parts: [...parts].map(([name, n]) => [hue(record, name), n / sum]),
      };
      x += span.w;
      return span;
    });
    return spans;
  }

  const length = (record, token, log) =>
    token.touches.reduce(
      (sum, number) =>
        sum +
        weighs(
          record.touches[number].tensors.reduce((n, p) => n + p.read + p.written, 0),
          log,
        ),
      0,
    );

  const ABOVE = 24;
  function drawTimeline(context, spans, height, chosen, told) {
    context.fillStyle = INK.words;
    context.font = "12px system-ui, sans-serif";
    context.fillText(told, 0, 16);
    for (const span of spans) {
      const gap = span.w > 4 ? 1 : 0;
      let x = span.x;
      for (const [colour, share] of span.parts) {
        context.fillStyle = colour;
        context.fillRect(
          x,
          ABOVE,
          Math.max(spans.length > 20 ? 0.75 : 1.5, share * span.w - gap),
          height - ABOVE - 9,
        );
        x += share * span.w;
      }
      if (span === chosen) {
        context.strokeStyle = "#ffffff";
        context.lineWidth = 1.5;
        context.strokeRect(span.x - 1, ABOVE - 2, Math.max(2, span.w + 1), height - ABOVE - 5);
      }
    }
  }

  return { extent, scene, light, draw, at, cellAt, bytesOfCell, timeline, length, drawTimeline, hue };
})();
