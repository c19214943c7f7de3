// DOM helpers and number formats. Names from the data (classes, images, sources) never become markup, only text nodes
// or attribute values.
"use strict";

const masksift = {};

(() => {
  // Create an element. `attributes`: null and false are left out, `on...` adds a listener, `style` sets properties.
  masksift.el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  masksift.svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  // A name isolated from the direction of the surrounding text.
  masksift.name = (text) => masksift.el("bdi", {}, text === "" ? "(no name)" : text);
  // The same for an attribute, with Unicode isolation marks.
  const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/;
  masksift.plain = (text) => (text === "" ? "(no name)" : RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text);

  const whole = new Intl.NumberFormat("en-US");
  masksift.count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
  masksift.pluralize = (value, singular, plural = `${singular}s`) =>
    `${whole.format(value)} ${value === 1 ? singular : plural}`;
  masksift.score = (value, digits = 4) => (value === null || Number.isNaN(value) ? "–" : value.toFixed(digits));
  masksift.share = (part, total) => {
    if (!total || part === null) return "–";
    const percent = (100 * part) / total;
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

  // A color of the data, gray if it is malformed.
  masksift.color = (text) => (/^#[0-9a-f]{6}$/i.test(text) ? text : "#888888");
  masksift.swatch = (text) =>
    masksift.el("span", { class: "swatch", style: { background: masksift.color(text) }, "aria-hidden": "true" });

  // Show a message at the top until it is closed or replaced.
  masksift.showMessage = (text) => {
    const line = document.getElementById("message");
    const close = masksift.el(
      "button",
      { type: "button", "aria-label": "Close", onclick: () => masksift.showMessage("") },
      "×",
    );
    line.hidden = !text;
    line.replaceChildren(...(text ? [text, close] : []));
  };
})();
