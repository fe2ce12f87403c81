"use strict";
(() => {
  const runs = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const time = (s) => (s < 1 ? Math.round(s * 1000) + " ms" : s.toFixed(2) + " s");
  const place = (s) => [s / 3600, (s / 60) % 60, s % 60].map((n, i) => String(Math.floor(n)).padStart(i ? 2 : 1, "0")).join(":");
  let on = null;
  const show = (bar) => {
    if (on) on.classList.remove("on");
    on = bar;
    if (!bar) {
      tip.hidden = true;
      return;
    }
    bar.classList.add("on");
    const run = runs[Number(bar.parentNode.dataset.run)];
    const [index, start, seconds, began, ended, outcome, retries] = run.chunks[bar.row];
    tip.textContent =
      "chunk " + index + " at " + place(start) + ", " + time(seconds) + " of audio: from " + time(began) + ", took " +
      time(ended - began) + (retries ? ", " + retries + " retries" : "") + (outcome ? ", " + outcome : "");
    tip.hidden = false;
  };
  for (const group of document.querySelectorAll(".chunks")) {
    const bars = group.children;
    Array.from(bars).forEach((bar, row) => (bar.row = row));
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", bars.length + " chunks: the arrow keys go from one to the next");
    group.addEventListener("pointerover", (event) => event.target.row !== undefined && show(event.target));
    group.addEventListener("pointerleave", () => show(null));
    group.addEventListener("blur", () => show(null));
    group.addEventListener("keydown", (event) => {
      const at = on && on.parentNode === group ? on.row : -1;
      const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: bars.length - 1 }[event.key];
      if (event.key === "Escape") show(null);
      if (to === undefined) return;
      event.preventDefault();
      show(bars[Math.max(0, Math.min(bars.length - 1, to))]);
    });
  }
})();
