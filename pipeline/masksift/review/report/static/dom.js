// Elements, and numbers as they are read. Names of classes, images and sources are never markup: whatever comes from
// the data becomes a text node or the value of an attribute.
"use strict";

const masksift = {};

(() => {
  // An element. `attributes`: null and false leave one out; `on...`: a listener; `style`: properties by name.
  masksift.el = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
  masksift.svg = (tag, attributes = {}, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  function filled(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, told] of Object.entries(value)) node.style.setProperty(key, told);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  // A name in a script of its own, whose direction leaves the words around it alone.
  masksift.name = (text) => masksift.el("bdi", {}, text === "" ? "(no name)" : text);
  // The same inside an attribute, where there are no elements: in marks that isolate it.
  const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/;
  masksift.plain = (text) => (text === "" ? "(no name)" : RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text);

  const whole = new Intl.NumberFormat("en-US");
  masksift.count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
  masksift.many = (value, one, several = `${one}s`) => `${whole.format(value)} ${value === 1 ? one : several}`;
  masksift.score = (value, digits = 4) => (value === null || Number.isNaN(value) ? "–" : value.toFixed(digits));
  masksift.share = (part, all) => {
    if (!all || part === null) return "–";
    const percent = (100 * part) / all;
    if (percent === 0 || percent === 100) return `${percent} %`;
    return percent < 0.01 ? "< 0.01 %" : `${percent.toFixed(percent < 10 ? 2 : 1)} %`;
  };
  masksift.bytes = (value) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
    return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
  };
  masksift.duration = (seconds) => {
    if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
    const [minutes, hours] = [Math.round(seconds / 60), Math.floor(Math.round(seconds / 60) / 60)];
    return hours === 0 ? `${minutes} min` : `${hours} h ${minutes % 60} min`;
  };

  // A colour as the data give it, where it is one.
  masksift.colour = (text) => (/^#[0-9a-f]{6}$/i.test(text) ? text : "#888888");
  masksift.swatch = (text) =>
    masksift.el("span", { class: "swatch", style: { background: masksift.colour(text) }, "aria-hidden": "true" });

  // A line that is said at the top until it is closed, or another one is said.
  masksift.say = (text) => {
    const line = document.getElementById("message");
    const close = masksift.el(
      "button",
      { type: "button", "aria-label": "Close", onclick: () => masksift.say("") },
      "×",
    );
    line.hidden = !text;
    line.replaceChildren(...(text ? [text, close] : []));
  };
})();
