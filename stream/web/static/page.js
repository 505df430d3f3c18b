// The live page: server-sent events into tiles. Nothing is drawn but what changed, once per frame of the browser.
"use strict";

const FIGURES_MS = 2000; // skips and reconnects are asked for this often
const SETTLED_MS = 10000; // an alert that is over stays this long
const MOST_FACES = 8; // of one tile
const MOST_PICTURES = 4; // a browser opens six lines to one address, and the page needs two
const GAP_S = 2.5; // points farther apart than this are not joined

const $ = (id) => document.getElementById(id);
const cameras = new Map(); // name -> what is known of it, with its nodes
let colours = {}, timelineS = 60, previewMode = "off", mode = "full", alerts = [], serverAhead = 0, due = false;
let theme = {};

// -- small tools

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function paint(node, emotion) {
  const colour = colours[emotion] || "";
  if (node.dataset.colour === colour) return;
  node.dataset.colour = colour;
  node.style.background = colour;
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["uncertain", "edge"]) theme[name] = style.getPropertyValue(`--${name}`).trim();
}

function later() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    render();
  });
}

// -- what comes in

function apply(update) {
  if (update.fresh) {
    for (const name of [...cameras.keys()]) forget(name);
    colours = update.colours;
    timelineS = update.timeline_s;
    previewMode = update.preview;
    mode = update.mode;
    if (update.purpose) {
      put($("purpose"), `Purpose: ${update.purpose}.`);
      $("purpose").hidden = false;
    }
  }
  serverAhead = Date.parse(update.now) - Date.now();
  for (const name of [...cameras.keys()]) if (!update.names.includes(name)) forget(name);
  for (const [name, told] of Object.entries(update.cameras)) hear(name, told);
  if (update.alerts) alerts = update.alerts;
  later();
}

function hear(name, told) {
  let camera = cameras.get(name);
  if (!camera) {
    camera = { name, faces: new Map(), figures: {}, visible: true, ...tile(name) };
    cameras.set(name, camera);
  } else if (camera.told.session !== told.session) {
    for (const id of [...camera.faces.keys()]) leave(camera, id);
  }
  camera.told = told;
  camera.heardAt = performance.now();
  camera.changed = true;
  for (const id of [...camera.faces.keys()]) if (!(id in told.tracks)) leave(camera, id);
  for (const [id, [emotion, confidence, points]] of Object.entries(told.tracks)) {
    const face = camera.faces.get(id) || { id, points: [] };
    face.emotion = emotion;
    face.confidence = confidence;
    face.points.push(...points);
    camera.faces.set(id, face);
  }
}

function leave(camera, id) {
  camera.faces.get(id).node?.remove();
  camera.faces.delete(id);
}

function forget(name) {
  const camera = cameras.get(name);
  picture(camera, false);
  seen.unobserve(camera.node);
  camera.node.remove();
  cameras.delete(name);
}

// -- tiles

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const camera = [...cameras.values()].find((each) => each.node === entry.target);
    if (camera) camera.visible = entry.isIntersecting;
  }
  later();
});

function tile(name) {
  const node = $("tile").content.firstElementChild.cloneNode(true);
  const find = (selector) => node.querySelector(selector);
  const parts = { node };
  for (const part of ["state", "reason", "fps", "latency", "skipped", "reconnects", "scale", "rest", "picture"])
    parts[part] = find(`.${part}`);
  parts.list = find(".faces"); // `faces` is what is known of them
  parts.word = find(".state b");
  parts.look = find(".look");
  node.id = `camera-${name}`;
  node.tabIndex = -1;
  put(find("h3"), name);
  node.setAttribute("aria-label", `Camera ${name}`);
  const remove = find(".remove");
  remove.setAttribute("aria-label", `Remove ${name}`);
  remove.addEventListener("click", () => removal(name, remove));
  remove.addEventListener("blur", () => unsure(name, remove));
  parts.look.hidden = previewMode === "off";
  parts.look.setAttribute("aria-label", `Picture of ${name}`);
  parts.look.addEventListener("click", () => picture(cameras.get(name), parts.look.getAttribute("aria-pressed") !== "true"));
  const after = [...cameras.values()].find((each) => each.name > name);
  $("tiles").insertBefore(node, after ? after.node : null);
  seen.observe(node);
  return parts;
}

function picture(camera, on) {
  const shown = camera.picture.querySelector("img");
  if (on === Boolean(shown)) return;
  if (!on) {
    shown.removeAttribute("src"); // this is what ends the stream
    shown.remove();
  } else {
    if (document.querySelectorAll(".picture img").length >= MOST_PICTURES)
      return speaker()(`Close another picture first: a browser can show ${MOST_PICTURES} at once.`, true);
    const image = make("img");
    const how = { boxes: "places of faces only", blurred: "faces are hidden", full: "in grey" }[previewMode];
    image.alt = `Live picture of ${camera.name}, ${how}`;
    image.src = `/preview/${camera.name}.mjpeg`;
    camera.picture.append(image);
  }
  camera.picture.hidden = !on;
  camera.look.setAttribute("aria-pressed", String(on));
}

function drawTile(camera) {
  const { told, figures } = camera;
  camera.node.dataset.state = told.state;
  put(camera.word, told.state);
  put(camera.reason, told.reason || "");
  put(camera.fps, told.state === "live" ? `${told.fps.toFixed(1)} /s` : "–");
  put(camera.latency, told.latency_s === null || told.state !== "live" ? "–" : `${Math.round(told.latency_s * 1000)} ms`);
  const skips = Object.entries(figures.skipped || {});
  put(camera.skipped, String(skips.reduce((sum, [, count]) => sum + count, 0)));
  camera.skipped.title = skips.map(([cause, count]) => `${cause.replaceAll("_", " ")}: ${count}`).join(", ");
  put(camera.reconnects, String(figures.reconnects || 0));
  if (told.counts) return drawCounts(camera);
  const faces = [...camera.faces.values()];
  for (const face of faces.slice(0, MOST_FACES)) drawFace(camera, face);
  const more = faces.length - MOST_FACES;
  const rest = [];
  if (more > 0) rest.push(`and ${plural(more, "more face")}`);
  if (!faces.length && mode === "full") rest.push("no face now");
  if (told.ended) rest.push(`${plural(told.ended, "face")} before`);
  put(camera.rest, rest.join(", "));
  camera.scale.hidden = !faces.length;
}

function drawFace(camera, face) {
  if (!face.node) {
    face.node = $("face").content.firstElementChild.cloneNode(true);
    [face.who, face.dot, face.mood, face.sure, face.canvas] = face.node.children;
    put(face.who, `#${face.id}`);
    camera.list.append(face.node);
  }
  put(face.mood, face.emotion);
  put(face.sure, face.points.length ? `${Math.round(face.confidence * 100)} %` : "");
  paint(face.dot, face.emotion);
  if (camera.visible) drawTimeline(camera, face);
}

// A step per point: its colour is the emotion, its height the confidence.
function drawTimeline(camera, face) {
  const { canvas, points } = face;
  const width = camera.laneWidth || (camera.laneWidth = canvas.clientWidth);
  if (!width) return;
  const dense = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * dense)) {
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(30 * dense);
  }
  const live = camera.told.state === "live";
  const now = camera.told.time + (live ? Math.min(2, (performance.now() - camera.heardAt) / 1000) : 0);
  while (points.length > 1 && points[1][0] < now - timelineS) points.shift();
  const pen = canvas.getContext("2d");
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, width, 30);
  const x = (time) => width * (1 - (now - time) / timelineS);
  for (let at = 0; at < points.length; at++) {
    const [time, emotion, confidence] = points[at];
    const until = Math.min(at + 1 < points.length ? points[at + 1][0] : now, time + GAP_S);
    const left = x(time), wide = Math.max(1, x(until) - left), high = 3 + 26 * confidence;
    pen.fillStyle = colours[emotion] || theme.uncertain;
    pen.fillRect(left, 30 - high, wide + 0.4, high);
    pen.fillStyle = theme.edge;
    pen.fillRect(left, 30 - high, wide + 0.4, 1);
  }
  describe(face);
}

function describe(face) {
  const told = [];
  for (const [, emotion] of face.points) if (told.at(-1) !== emotion) told.push(emotion);
  const words = `Face ${face.id}, last minute: ${told.slice(-6).join(", then ") || "nothing yet"}`;
  if (face.words !== words) {
    face.words = words;
    face.canvas.setAttribute("aria-label", words);
  }
  face.canvas.dataset.points = String(face.points.length);
}

function drawCounts(camera) {
  const { counts } = camera.told;
  const list = camera.list;
  list.classList.add("counts");
  const rows = Object.entries(counts.counts || {}).filter(([, count]) => count > 0);
  list.replaceChildren(
    ...rows.map(([emotion, count]) => {
      const row = make("li"), dot = make("i", "dot");
      paint(dot, emotion);
      row.append(dot, make("b", "mood", emotion), make("span", "count", String(count)));
      return row;
    }),
  );
  camera.scale.hidden = true;
  const few = "fewer faces than the smallest group that is told";
  put(camera.rest, counts.suppressed ? few : `${plural(counts.faces || 0, "face")} in ${counts.interval_s} s`);
}

// -- the wall

function countMoods(camera) {
  const found = new Map();
  const add = (emotion, count) => found.set(emotion, (found.get(emotion) || 0) + count);
  if (camera.told.counts) for (const [emotion, count] of Object.entries(camera.told.counts.counts || {})) add(emotion, count);
  else for (const face of camera.faces.values()) add(face.emotion, 1);
  return found;
}

function drawWall() {
  const order = [...Object.keys(colours), "uncertain"];
  const total = new Map();
  const cells = [];
  for (const camera of cameras.values()) {
    const moods = countMoods(camera);
    for (const [emotion, count] of moods) total.set(emotion, (total.get(emotion) || 0) + count);
    cells.push([camera, order.filter((emotion) => moods.get(emotion)).map((emotion) => [emotion, moods.get(emotion)])]);
  }
  const sum = [...total.values()].reduce((a, b) => a + b, 0);
  const shares = order.filter((emotion) => total.get(emotion)).map((emotion) => [emotion, total.get(emotion)]);
  fill($("bar"), shares, ([emotion]) => emotion, () => make("i"), (node, [emotion, count]) => {
    if (emotion === "uncertain") node.style.background = "var(--uncertain)";
    else paint(node, emotion);
    node.style.flexGrow = count;
  });
  fill($("moods"), shares.length ? shares : [["none", 0]], ([emotion]) => emotion, moodNode, (node, [emotion, count]) => {
    if (emotion === "none") return;
    paint(node.children[0], emotion);
    put(node.children[2], `${count} · ${Math.round((100 * count) / sum)} %`);
  });
  cells.sort(([a], [b]) => (a.name < b.name ? -1 : 1));
  fill($("wall"), cells, ([camera]) => camera.name, wallNode, (node, [camera, moods]) => {
    const words = moods.map(([emotion, count]) => `${emotion} ${count}`).join();
    const key = words || nobody(camera);
    if (node.dataset.key === key) return;
    node.dataset.key = key;
    const chips = moods.map(([emotion, count]) => {
      const chip = make("span"), dot = make("i", "dot");
      paint(dot, emotion);
      chip.append(dot, count > 1 ? `${emotion} ×${count}` : emotion);
      return chip;
    });
    node.children[1].replaceChildren(...(chips.length ? chips : [nobody(camera)]));
  });
  const live = [...cameras.values()].filter((camera) => camera.told.state === "live").length;
  put($("totals"), cameras.size ? `${live} of ${plural(cameras.size, "camera")} live · ${plural(sum, "face")}` : "");
  $("empty").hidden = cameras.size > 0;
}

function nobody(camera) {
  if (camera.told.state !== "live") return camera.told.state;
  return mode === "full" ? "nobody" : "not told";
}

function moodNode([emotion]) {
  const node = make("li");
  if (emotion === "none") node.append(make("span", "", "No face is seen now."));
  else node.append(make("i", "dot"), make("b", "", emotion), make("span"));
  return node;
}

function wallNode([camera]) {
  const node = make("li"), link = make("a", "", camera.name);
  link.href = `#camera-${camera.name}`;
  node.append(link, make("p"));
  return node;
}

// Children of `parent` for these rows, in their order; a node that is there is used again.
function fill(parent, rows, keyOf, build, update) {
  const before = new Map([...parent.children].map((node) => [node.dataset.row, node]));
  rows.forEach((row, place) => {
    const key = keyOf(row);
    let node = before.get(key);
    if (!node) {
      node = build(row);
      node.dataset.row = key;
    }
    before.delete(key);
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] || null);
    update(node, row);
  });
  for (const node of before.values()) node.remove();
}

// -- alerts

function drawAlerts() {
  const now = Date.now() + serverAhead;
  const shown = alerts.filter((alert) => !alert.over || now - Date.parse(alert.over) < SETTLED_MS);
  fill($("active"), shown, (alert) => alert.key, () => make("p"), (node, alert) => {
    node.dataset.level = alert.over && alert.level !== "info" ? "over" : alert.level;
    put(node, alert.over && alert.level !== "info" ? `Over: ${alert.text}` : alert.text);
  });
  const past = alerts.filter((alert) => !shown.includes(alert)).reverse();
  $("past").hidden = !past.length;
  fill($("past").querySelector("ul"), past, (alert) => alert.key, () => make("li"), (node, alert) => {
    put(node, `${new Date(alert.since).toLocaleTimeString()} to ${new Date(alert.over).toLocaleTimeString()}: ${alert.text}`);
  });
}

function render() {
  for (const camera of cameras.values()) drawTile(camera);
  drawWall();
  drawAlerts();
}

// -- asking and telling the worker

async function ask(path, options) {
  const answer = await fetch(path, { headers: { "Content-Type": "application/json" }, ...options });
  const body = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return body;
  const detail = body && body.detail;
  throw new Error(typeof detail === "string" ? detail : Array.isArray(detail) ? detail[0].msg : `the worker answered ${answer.status}`);
}

async function figures() {
  if (document.hidden) return;
  try {
    const answer = await ask("/api/cameras");
    for (const info of Array.isArray(answer) ? answer : answer.cameras) {
      const camera = cameras.get(info.name);
      if (camera) camera.figures = info;
    }
    later();
  } catch {
    // the line above says when the worker is away
  }
}

let asked = 0;

// Begins what one request has to say: a late success must not cover what a newer request said. A refusal always shows.
function speaker() {
  const turn = ++asked;
  return (words, refused) => {
    if (turn !== asked && !refused) return;
    put($("said"), words);
    $("said").classList.toggle("refused", Boolean(refused));
  };
}

async function add(event) {
  event.preventDefault();
  const form = event.target, wanted = new FormData(form);
  const hz = wanted.get("hz");
  const body = { name: wanted.get("name"), source: wanted.get("source"), settings: hz ? { analyse_hz: Number(hz) } : {} };
  const say = speaker();
  say("Adding…");
  try {
    await ask("/api/cameras", { method: "POST", body: JSON.stringify(body) });
    say(`${body.name} was added.`);
    if (["name", "source"].every((field) => form.elements[field].value === body[field])) form.reset(); // not the next one's
  } catch (error) {
    say(error.message, true);
  }
}

async function removal(name, button) {
  if (!button.classList.contains("sure-now")) {
    button.classList.add("sure-now");
    button.setAttribute("aria-label", `Really remove ${name}`);
    return put(button, "Really remove?");
  }
  button.disabled = true;
  const say = speaker();
  try {
    await ask(`/api/cameras/${name}`, { method: "DELETE" });
    say(`${name} was removed.`);
    if ([document.body, button].includes(document.activeElement)) $("cameras").focus(); // nobody has gone on elsewhere
  } catch (error) {
    button.disabled = false;
    say(error.message, true);
  }
}

function unsure(name, button) {
  if (button.disabled) return;
  button.classList.remove("sure-now");
  button.setAttribute("aria-label", `Remove ${name}`);
  put(button, "Remove");
}

// -- begin

function connect() {
  const line = new EventSource("/live");
  const state = (word) => {
    $("line").dataset.state = word;
    put($("line"), word);
  };
  line.onopen = () => state("live");
  line.onmessage = (event) => apply(JSON.parse(event.data));
  line.onerror = () => {
    state("reconnecting");
    if (line.readyState === EventSource.CLOSED) setTimeout(connect, 3000); // it was refused: the browser gives up
  };
}

readTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readTheme();
  later();
});
addEventListener("resize", () => {
  for (const camera of cameras.values()) camera.laneWidth = 0;
  later();
});
$("add").addEventListener("submit", add);
connect();
setTimeout(figures, 500);
setInterval(figures, FIGURES_MS);
setInterval(later, 1000); // time goes on where nothing happens
