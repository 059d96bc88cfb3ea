// SPDX-License-Identifier: GPL-3.0-or-later
"use strict";
// The filter, and the keyboard in the drawings. The page holds everything without it.
(() => {
  const every = (selector, top = document) => [...top.querySelectorAll(selector)];
  const low = (node) => (node ? node.textContent.toLowerCase() : "");
  const text = document.getElementById("text");
  const shown = document.getElementById("shown");
  const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
  const entries = new Map(every("tr[data-h]").map((row) => [row.dataset.h, row]));
  const hosts = every(".host").map((section) => ({
    section,
    entry: entries.get(section.id),
    rows: every("tr[id]", section),
    words: null,
  }));
  let state = "";

  // What can be looked for, in lower case: read once, when it is needed.
  function words(host) {
    if (!host.words) {
      const boxes = new Map(every(".map a", host.section).map((box) => [box.getAttribute("href").slice(1), box]));
      host.words = low(host.section.querySelector(".head"));
      host.rows = host.rows.map((row) => ({ row, state: row.dataset.s, box: boxes.get(row.id), words: `${host.words} ${low(row)}` }));
    }
    return host.words;
  }

  function apply() {
    const wanted = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (content) => wanted.every((word) => content.includes(word));
    let hostCount = 0;
    let domainCount = 0;
    let all = 0;
    for (const host of hosts) {
      const head = words(host);
      const own = host.rows.some((item) => item.state === state);
      const right = !state || own || host.section.dataset.s === state;
      let visible = right && has(head);
      for (const item of host.rows) {
        const stays = right && (!own || item.state === state) && has(item.words);
        item.row.hidden = !stays;
        if (item.box) item.box.classList.toggle("off", !stays);
        visible = visible || stays;
        domainCount += stays;
      }
      all += host.rows.length;
      hostCount += visible;
      host.section.hidden = !visible;
      if (host.entry) host.entry.hidden = !visible;
    }
    shown.textContent = `Shown: ${hostCount} of ${count(hosts.length, "host")}, ${domainCount} of ${count(all, "domain")}`;
  }

  let due = 0;
  text.addEventListener("input", () => {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(apply);
  });
  for (const choice of every("[name=state]")) {
    choice.addEventListener("change", () => {
      state = choice.value;
      apply();
    });
  }
  document.getElementById("filter").hidden = false;

  // In a drawing, one domain at a time takes part in the order of the Tab key.
  const place = (box) => box.getAttribute("href").split("-")[1];
  const isLeft = (box) => parseFloat(box.firstElementChild.getAttribute("x")) < 50;
  const ends = (map) => every("[data-e]", map).map((edge) => [edge, ...edge.dataset.e.split(" ")]);

  function light(map, box) {
    map.classList.toggle("focus", Boolean(box));
    for (const node of every(".on", map)) node.classList.remove("on");
    if (!box) return;
    const own = place(box);
    const near = new Set([own]);
    for (const [edge, backend, client] of ends(map)) {
      if (backend !== own && client !== own) continue;
      edge.classList.add("on");
      near.add(backend).add(client);
    }
    for (const other of every("a", map)) other.classList.toggle("on", near.has(place(other)));
  }

  function next(map, box, key) {
    const boxes = every("a", map);
    const column = boxes.filter((other) => isLeft(other) === isLeft(box));
    const at = column.indexOf(box);
    if (key === "ArrowUp") return column[at - 1];
    if (key === "ArrowDown") return column[at + 1];
    if (key === "Home") return column[0];
    if (key === "End") return column[column.length - 1];
    if (isLeft(box) === (key === "ArrowLeft")) return undefined;
    const own = place(box);
    const linked = new Set(ends(map).filter((edge) => edge.includes(own)).flatMap((edge) => edge.slice(1)));
    const others = boxes.filter((other) => isLeft(other) !== isLeft(box));
    return others.find((other) => linked.has(place(other))) || others[0];
  }

  for (const map of every(".map")) every("a", map).slice(1).forEach((box) => box.setAttribute("tabindex", "-1"));
  const boxAt = (event) => event.target.closest(".map a");
  document.addEventListener("keydown", (event) => {
    const box = boxAt(event);
    if (!box || !/^(Arrow(Up|Down|Left|Right)|Home|End)$/.test(event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const map = box.closest(".map");
    const other = next(map, box, event.key);
    if (!other) return;
    box.setAttribute("tabindex", "-1");
    other.removeAttribute("tabindex");
    other.focus();
  });
  for (const [enter, leave] of [["focusin", "focusout"], ["mouseover", "mouseout"]]) {
    document.addEventListener(enter, (event) => boxAt(event) && light(boxAt(event).closest(".map"), boxAt(event)));
    document.addEventListener(leave, (event) => boxAt(event) && light(boxAt(event).closest(".map"), null));
  }
})();
