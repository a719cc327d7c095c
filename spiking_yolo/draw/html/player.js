"use strict";
// The slider: drag, arrow keys anywhere on the page, space to play.

/**
 * count: positions. name(k): short, what the slider shows; said(k): one line about it. show(k) draws it.
 * pace: milliseconds per position. Returns {element, go(k), refresh()}.
 */
function player({ count, label, name, said, show, pace }) {
  const icon = s("path", {});
  const play = h("button", { class: "play", type: "button", onclick: () => toggle() }, s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, icon));
  const slider = h("input", { type: "range", min: 0, max: count - 1, value: 0, "aria-label": label, disabled: count < 2, oninput: () => { stop(); go(Number(slider.value)); } });
  const output = h("output", {}), line = h("p", { class: "said", "aria-live": "polite" });
  let at = 0, timer = null;

  function go(k) {
    at = Math.max(0, Math.min(count - 1, k));
    slider.value = at;
    output.textContent = name(at);
    line.textContent = said(at);
    slider.setAttribute("aria-valuetext", `${name(at)}: ${said(at)}`);
    show(at);
  }
  function face() {
    play.setAttribute("aria-label", timer ? "Pause" : "Play");
    icon.setAttribute("d", timer ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1.5v13l11-6.5z");
    line.setAttribute("aria-live", timer ? "off" : "polite");
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    face();
  }
  function toggle() {
    if (timer || count < 2) return stop();
    if (at === count - 1) go(0);
    timer = setInterval(() => (at === count - 1 ? stop() : go(at + 1)), pace);
    face();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const own = event.target.closest("select, textarea, input[type=range]"), pressed = event.target.closest("button, summary, input, a");
    const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: count - 1 };
    if (event.key in moves && !own) { stop(); go(moves[event.key]); }
    else if (event.key === " " && (!pressed || event.target === slider) && !event.target.closest("select")) toggle();
    else return;
    event.preventDefault();
  });
  face();
  return { element: h("div", { class: "player", role: "group", "aria-label": label }, play, slider, output, line), go, refresh: () => go(at), at: () => at };
}

const KEYS = () => h("p", { class: "note" }, h("kbd", {}, "←"), " ", h("kbd", {}, "→"), " move, ", h("kbd", {}, "Space"), " plays.");
