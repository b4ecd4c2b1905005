// How numbers and texts are written.  Text of others only ever becomes text (textContent).
const $ = (id) => document.getElementById(id);
const make = (tag, className = "", text = "") => {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text) e.textContent = text;
  return e;
};
const numbers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 }),
  whole = (n) => numbers.format(n);
const some = (n, what) => `${whole(n)} ${what}${n === 1 ? "" : "s"}`;
const tenths = (n) => n.toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const human = (n) =>
  n < 1000
    ? `${whole(n)}\u00a0B`
    : n < 1e6
      ? `${(n / 1e3).toPrecision(3)}\u00a0kB`
      : n < 1e9
        ? `${(n / 1e6).toPrecision(3)}\u00a0MB`
        : `${(n / 1e9).toPrecision(3)}\u00a0GB`;
const times = (n) => (n >= 10 ? whole(n) : n.toPrecision(2));
const percent = (p) =>
  p >= 0.1
    ? `${(100 * p).toFixed(0)} %`
    : p >= 0.001
      ? `${(100 * p).toFixed(1)} %`
      : p > 0
        ? `${(100 * p).toPrecision(1)} %`
        : "0 %";
const visible = (text) =>
  text
    .replace(/\r/g, "␍")
    .replace(/\n/g, "⏎")
    .replace(/\t/g, "⇥")
    .replace(/ /g, "␣")
    .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\u007f/g, "␡")
    .replace(
      /[\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g,
      (c) => `‹U+${c.charCodeAt(0).toString(16).toUpperCase()}›`,
    );
const quoted = (text) => `“${visible(text).replace(/␣/g, " ").trim() || visible(text)}”`;
const shown = (text) =>
  text.includes("\n") ? visible(text).replace(/␣/g, " ").replace(/⏎/g, "⏎\n") : visible(text).replace(/␣/g, " ");
