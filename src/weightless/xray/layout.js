// Where every tensor of a model lies on its map: rectangles by component, cut into cells.  Pure numbers, nothing drawn.
const Layout = (() => {
  const HUES = [
    "#6fb3f2",
    "#f2a65e",
    "#6fd0a5",
    "#c3a2f0",
    "#e6c667",
    "#ef8fbd",
    "#62cfe0",
    "#aab6c3",
    "#d98f7a",
    "#a8d36c",
  ];
  const CELL = 4,
    GAP = 12,
    HEAD = 17;

  // Squarified treemap (Bruls, Huizing, van Wijk 2000): items with a weight get x, y, w, h within the rectangle.
  function squarify(items, x, y, w, h) {
    const left = items.filter((item) => item.weight > 0).sort((a, b) => b.weight - a.weight);
    let sum = left.reduce((total, item) => total + item.weight, 0);
    while (left.length && w > 0 && h > 0) {
      const side = Math.min(w, h),
        unit = (w * h) / sum;
      let row = [],
        area = 0,
        worst = Infinity;
      while (left.length) {
        const next = left[0].weight * unit,
          total = area + next;
        const all = [...row.map((item) => item.weight * unit), next];
        const ratio = Math.max(
          ...all.map((a) => Math.max((side * side * a) / (total * total), (total * total) / (side * side * a))),
        );
        if (row.length && ratio > worst) break;
        worst = ratio;
        area = total;
        row.push(left.shift());
      }
      const thick = area / side;
      let at = 0;
      for (const item of row) {
        const long = (item.weight * unit) / thick;
        Object.assign(item, w >= h ? { x, y: y + at, w: thick, h: long } : { x: x + at, y, w: long, h: thick });
        at += long;
        sum -= item.weight;
      }
      if (w >= h) {
        x += thick;
        w -= thick;
      } else {
        y += thick;
        h -= thick;
      }
    }
  }

  const weighs = (bytes, log) => (log ? Math.log2(2 + bytes) : bytes);

  // Area that all of a model's memory takes: what two maps are brought to one scale by.
  function extent(record, log) {
    return record.tensors.reduce((sum, tensor) => sum + weighs(tensor.bytes, log), 0);
  }

  // Boxes of a record on a canvas: stored tensors by component at the left, what lives while decoding at the right.
  function layout(record, width, height, share, log) {
    const k = Math.sqrt(share),
      W = Math.max(6, width * k),
      H = Math.max(6, height * k),
      pad = k > 0.35 ? GAP : 3;
    const boxes = record.tensors.map((tensor, index) => ({ index, tensor, weight: weighs(tensor.bytes, log) }));
    const stored = boxes.filter((box) => box.tensor.kind !== "state"),
      state = boxes.filter((box) => box.tensor.kind === "state");
    const sum = (list) => list.reduce((total, box) => total + box.weight, 0);
    const wide = Math.max(3, ((W - pad) * sum(state)) / (sum(state) + sum(stored)));
    const groups = [
      ...grouped(record, stored, 0, 0, W - pad - wide, H),
      ...grouped(record, state, W - wide, 0, wide, H),
    ];
    for (const box of boxes) cut(box);
    return { boxes, groups, W, H, split: W - pad - wide };
  }

  function grouped(record, boxes, x, y, w, h) {
    const groups = new Map();
    for (const box of boxes) {
      const name = box.tensor.component;
      if (!groups.has(name)) groups.set(name, { name, boxes: [], weight: 0, colour: hue(record, name) });
      groups.get(name).boxes.push(box);
      groups.get(name).weight += box.weight;
    }
    squarify([...groups.values()], x, y, w, h);
    for (const g of groups.values()) {
      if (g.w === undefined) {
        Object.assign(g, { x, y, w: 0, h: 0 });
      }
      g.head = g.h > 52 && g.w > 54 ? HEAD : 0;
      const gap = g.w > 8 && g.h > 8 ? 1.5 : 0;
      squarify(
        g.boxes,
        g.x + gap,
        g.y + gap + g.head,
        Math.max(0.5, g.w - 2 * gap),
        Math.max(0.5, g.h - 2 * gap - g.head),
      );
    }
    return [...groups.values()];
  }

  // On one scale a small model would be too small to see: beside it stands the same map, magnified.
  const MAGNIFY_BELOW = 0.25,
    LENS = 46;
  function scene(record, width, height, share, log) {
    if (share >= MAGNIFY_BELOW) return { x: 0, ...layout(record, width, height, share, log), mini: null };
    const mini = layout(record, width, height, share, log),
      x = mini.W + LENS;
    const big = layout(record, width - x, height, 1, log);
    return { x, ...big, mini, times: (big.W * big.H) / (mini.W * mini.H) };
  }

  const hue = (record, name) => HUES[record.components.indexOf(name) % HUES.length];

  // A cell stands for so many bytes; where there is room for more cells than 64-byte lines, a cell is a line.
  function cut(box) {
    if (box.w === undefined) Object.assign(box, { x: 0, y: 0, w: 0, h: 0 });
    const gap = box.w > 5 && box.h > 5 ? 0.75 : 0;
    Object.assign(box, {
      x: box.x + gap,
      y: box.y + gap,
      w: Math.max(0.5, box.w - 2 * gap),
      h: Math.max(0.5, box.h - 2 * gap),
    });
    const lines = Math.max(1, Math.ceil(box.tensor.bytes / 64));
    const side = Math.max(CELL, Math.sqrt((box.w * box.h) / lines));
    box.cols = Math.max(1, Math.round(box.w / side));
    box.rows = Math.max(1, Math.min(Math.round(box.h / side), Math.ceil(lines / box.cols)));
    box.n = box.cols * box.rows;
    box.reads = new Uint8Array(box.n);
    box.writes = new Uint8Array(box.n);
    box.last = new Int32Array(box.n).fill(-1);
  }

  return { extent, scene, weighs, hue };
})();
