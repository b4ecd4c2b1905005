"use strict";
// Hover notes for marks, bars and curves. Without script the <title> of each mark says the same.
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  for (const shape of document.querySelectorAll("[data-tip]")) {
    const title = shape.querySelector(":scope > title");
    if (title) { shape.setAttribute("aria-label", title.textContent); title.remove(); }
  }
  document.addEventListener("pointermove", (event) => {
    const shape = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !shape;
    if (!shape) return;
    tip.textContent = shape.getAttribute("data-tip");
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
    tip.style.top = Math.max(4, event.clientY - height - 12) + "px";
  });
})();
