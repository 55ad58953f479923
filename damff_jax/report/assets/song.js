// The page of a song: joins the player, the chart, the overview, the plane and the page's texts.

const $ = (id) => document.getElementById(id);
const song = JSON.parse($("data").textContent);
const picture = $("spectrogram");
const points = pathOf(song);
const shortest = Math.min(4 * song.hop, song.duration); // The closest zoom.
const view = { from: 0, to: song.duration };
const player = new Player($("audio"), song.duration, () => show());
let hovered = null; // The time under the pointer.
let isStale = true; // Whether the drawings must be made again.
let lastShown = {};

const scale = () => ($("fit").checked ? fitted(song) : FULL_SCALE);
const shift = () => ($("lag")?.checked ? song.lag : 0);
const shownDimensions = () => DIMENSIONS.filter((name) => $(`show-${name}`).checked);

// Showing ----------------------------------------------------------------------------------------

function redraw() {
  if (!isStale) requestAnimationFrame(() => { isStale = false; drawAll(); show(); });
  isStale = true;
}

function drawAll() {
  const image = picture?.complete && picture.naturalWidth ? picture : null;
  const shown = shownDimensions();
  drawChart($("curves"), song, { view, scale: scale(), picture: image, shift: shift(), shown });
  drawOverview($("whole"), song, shown);
  drawPlane($("path"), song, points, view);
  const area = plotArea($("overview").clientWidth, 1);
  const whole = { from: 0, to: song.duration };
  const left = toX(view.from, area, whole);
  Object.assign($("window").style, { left: `${left}px`, width: `${toX(view.to, area, whole) - left}px` });
  $("window").hidden = isWhole();
  $("zoom-out").disabled = $("zoom-all").disabled = isWhole();
  $("zoom-in").disabled = view.to - view.from <= shortest;
  lastShown = {};
}

const isWhole = () => view.to - view.from >= song.duration - 1e-6;

// What changes while the song plays; called for every frame.
function show() {
  const position = player.position;
  if (player.isPlaying && $("follow").checked) follow(position);
  const area = plotArea($("chart").clientWidth, $("chart").clientHeight);
  place($("cursor"), position, area, view);
  place($("hover"), hovered, area, view);
  const overview = { ...plotArea($("overview").clientWidth, 0), y: 2, height: $("overview").clientHeight - 4 };
  place($("overview-cursor"), position, overview, { from: 0, to: song.duration });
  const now = values(position);
  $("clock").textContent = `${clock(position)} / ${clock(song.duration)}`;
  $("play").textContent = player.isPlaying ? "❚❚ Pause" : "► Play";
  $("play").disabled = !player.canPlay;
  $("no-sound").hidden = player.canPlay;
  if (lastShown.position !== position) {
    $("chart").setAttribute("aria-valuenow", position.toFixed(1));
    $("chart").setAttribute("aria-valuetext", `${clock(position, 1)}: ${inWords(now)}`);
    drawDot($("dot"), now.valence, now.arousal);
    $("plane-now").textContent = `${clock(position, 1)}, ${quadrant(song, now)}`;
  }
  if (lastShown.position !== position || lastShown.hovered !== hovered) showReadout(hovered ?? position);
  lastShown = { position, hovered };
}

function place(element, time, area, view) {
  element.hidden = time === null || time < view.from || time > view.to;
  if (element.hidden) return;
  element.style.height = `${area.height}px`;
  element.style.transform = `translate(${toX(time, area, view)}px, ${area.y}px)`;
}

function values(time) {
  const at = (name) => valueAt(name, song, time + shift());
  const now = { valence: at(song.valence), arousal: at(song.arousal) };
  for (const name in song.band) now[name] = at(song.band[name]);
  return now;
}

const inWords = (now) => DIMENSIONS.map((name) => `${name} ${signed(now[name])}`).join(", ");

function showReadout(time) {
  const now = values(time);
  $("at").textContent = clock(time, 1);
  for (const name of DIMENSIONS) {
    const band = song.band ? ` (${signed(now[`${name}_low`])} to ${signed(now[`${name}_high`])})` : "";
    $(`value-${name}`).textContent = `${name} ${signed(now[name])}${band}`;
  }
  $("value-words").textContent = quadrant(song, now);
}

// Zoom -------------------------------------------------------------------------------------------

function setView(from, span) {
  span = Math.min(Math.max(span, shortest), song.duration);
  view.from = Math.min(Math.max(from, 0), song.duration - span);
  view.to = view.from + span;
  redraw();
}

// Makes the visible span `factor` times as long; the time at `about` stays where it is.
function zoom(factor, about = hovered ?? middleOfZoom()) {
  const span = Math.min(Math.max((view.to - view.from) * factor, shortest), song.duration);
  setView(about - ((about - view.from) / (view.to - view.from)) * span, span);
}

function middleOfZoom() {
  const position = player.position;
  return position >= view.from && position <= view.to ? position : (view.from + view.to) / 2;
}

// Turns the page, as a score is turned, when the cursor comes to its right edge.
function follow(position) {
  const span = view.to - view.from;
  if (position < view.from || (position > view.from + 0.92 * span && view.to < song.duration)) {
    setView(position - 0.08 * span, span);
  }
}

function seek(seconds) {
  player.seek(seconds);
  const position = player.position;
  const span = view.to - view.from;
  if (position < view.from || position > view.to) setView(position - span / 2, span);
}

// Pointers ---------------------------------------------------------------------------------------

const timeUnder = (event) => {
  const box = $("chart").getBoundingClientRect();
  const time = toTime(event.clientX - box.left, plotArea(box.width, box.height), view);
  return Math.min(Math.max(time, view.from), view.to);
};

// One pointer seeks, two zoom.
function setUpChart() {
  const chart = $("chart");
  const pointers = new Map();
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { distance: Math.max(Math.abs(a - b), 20), centre: (a + b) / 2 };
  };
  chart.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    chart.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event.clientX);
    if (pointers.size === 1) seek(timeUnder(event));
  });
  chart.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") hovered = timeUnder(event);
    if (pointers.has(event.pointerId)) {
      const before = pointers.size === 2 ? spread() : null;
      pointers.set(event.pointerId, event.clientX);
      if (before) {
        const after = spread();
        zoom(before.distance / after.distance, timeUnder({ clientX: after.centre }));
      } else if (pointers.size === 1) seek(timeUnder(event));
    }
    show();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    chart.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  chart.addEventListener("pointerleave", () => { hovered = null; show(); });
  chart.addEventListener("wheel", (event) => {
    const span = view.to - view.from;
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(event.deltaY / 240), timeUnder(event));
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      setView(view.from + ((event.deltaX || event.deltaY) / 800) * span, span);
    } else return; // The page scrolls.
    event.preventDefault();
  }, { passive: false });
}

// The overview moves the visible part or, if all is visible, seeks.
function setUpOverview() {
  const overview = $("overview");
  const move = (event) => {
    const box = overview.getBoundingClientRect();
    const area = plotArea(box.width, box.height);
    const time = toTime(event.clientX - box.left, area, { from: 0, to: song.duration });
    if (isWhole()) seek(time);
    else setView(time - (view.to - view.from) / 2, view.to - view.from);
  };
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    move(event);
  });
  overview.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
}

// The plane seeks to the nearest point of the path.
function setUpPlane() {
  $("plane").addEventListener("click", (event) => {
    const box = $("plane").getBoundingClientRect();
    const area = planeArea(box.width);
    const distance = ({ valence, arousal }) => {
      const [x, y] = planePoint(valence, arousal, area);
      return Math.hypot(x - event.clientX + box.left, y - event.clientY + box.top);
    };
    const nearest = points.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    seek(nearest.time - shift());
  });
}

// Keys -------------------------------------------------------------------------------------------

const KEYS = {
  " ": () => player.toggle(),
  ArrowLeft: (event) => seek(player.position - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => seek(player.position + (event.shiftKey ? 10 : 1)),
  ArrowDown: () => seek(player.position - song.hop),
  ArrowUp: () => seek(player.position + song.hop),
  PageDown: () => seek(player.position - 30),
  PageUp: () => seek(player.position + 30),
  Home: () => seek(0),
  End: () => seek(song.duration),
  "+": () => zoom(0.5),
  "=": () => zoom(0.5),
  "-": () => zoom(2),
  0: () => setView(0, song.duration),
};
// Without the focus on the chart, other keys scroll the page.
const KEYS_EVERYWHERE = [" ", "ArrowLeft", "ArrowRight", "+", "=", "-", "0"];

function setUpKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    const isOnChart = event.target === $("chart");
    const isOnControl = event.target.closest("button, a, input, select, summary, .scroll");
    if (!isOnChart && (isOnControl || !KEYS_EVERYWHERE.includes(event.key))) return;
    event.preventDefault();
    KEYS[event.key](event);
  });
}

// Moments, downloads, sound ----------------------------------------------------------------------

function setUpMoments() {
  for (const link of document.querySelectorAll("a[data-moment]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      seek(song.hop / 2 + Number(link.dataset.moment) - shift());
      $("chart").scrollIntoView({ block: "nearest" });
      $("chart").focus({ preventScroll: true });
    });
  }
  const go = () => {
    const match = /^#t=([\d.]+)$/.exec(location.hash);
    if (match) seek(Number(match[1]));
  };
  addEventListener("hashchange", go);
  go();
}

async function save(name) {
  const { type, deflated } = song.downloads[name];
  const bytes = Uint8Array.from(atob(deflated), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([await new Response(stream).arrayBuffer()], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function setUpControls() {
  $("play").addEventListener("click", () => player.toggle());
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("zoom-all").addEventListener("click", () => setView(0, song.duration));
  $("volume").addEventListener("input", (event) => { $("audio").volume = event.target.value / 100; });
  $("choose").addEventListener("change", (event) => player.open(event.target.files[0]));
  for (const id of ["fit", "lag"]) $(id)?.addEventListener("change", redraw);
  for (const name of DIMENSIONS) $(`show-${name}`).addEventListener("change", redraw);
  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => save(button.dataset.download));
  }
  picture?.addEventListener("load", redraw);
}

isStale = false;
document.documentElement.addEventListener("themechange", redraw);
setUpChart();
setUpOverview();
setUpPlane();
setUpKeys();
setUpControls();
setUpMoments();
new ResizeObserver(redraw).observe($("chart"));
redraw();
