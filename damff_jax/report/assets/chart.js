// Drawing: a song's curves over time, and its path on the valence-arousal plane.
// A song is {hop, n, duration, valence, arousal, band, context, quadrants}; a view is {from, to} in seconds,
// and a scale {low, high} in values.

const DIMENSIONS = ["valence", "arousal"];
const GUTTER = { left: 34, right: 10, top: 8, bottom: 22 };
const FULL_SCALE = { low: -1, high: 1 };
const TICKS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

// m:ss or h:mm:ss, with as many decimals as asked.
function clock(seconds, decimals = 0) {
  const units = Math.round(Math.max(seconds, 0) * 10 ** decimals);
  const whole = Math.floor(units / 10 ** decimals);
  const two = (x) => String(x).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  const text = minutes >= 60
    ? `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`
    : `${minutes}:${two(whole % 60)}`;
  const rest = String(units % 10 ** decimals).padStart(decimals, "0");
  return decimals ? `${text}.${rest}` : text;
}

// A value as people write it, with a minus sign of a plus sign's width.
const signed = (x) => (x <= -0.005 ? "−" : "+") + Math.abs(x).toFixed(2);

// A canvas's context, cleared, in units of CSS pixels.
function prepared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return { context, width, height };
}

function plotArea(width, height) {
  return {
    x: GUTTER.left, y: GUTTER.top,
    width: Math.max(width - GUTTER.left - GUTTER.right, 1),
    height: Math.max(height - GUTTER.top - GUTTER.bottom, 1),
  };
}

const toX = (t, area, view) => area.x + (area.width * (t - view.from)) / (view.to - view.from);
const toTime = (x, area, view) =>
  view.from + ((x - area.x) / area.width) * (view.to - view.from);
const toY = (value, area, scale) =>
  area.y + (area.height * (scale.high - value)) / (scale.high - scale.low);

function drawChart(canvas, song, { view, scale, picture, shift, shown }) {
  const { context, width, height } = prepared(canvas);
  const area = plotArea(width, height);
  context.fillStyle = colour("sunken");
  context.fillRect(area.x, area.y, area.width, area.height);
  context.save();
  context.beginPath();
  context.rect(area.x, area.y, area.width, area.height);
  context.clip();
  if (picture) drawPicture(context, picture, song, area, view);
  drawContext(context, song, area, view);
  context.restore();
  drawAxes(context, area, view, scale);
  context.save();
  context.beginPath();
  context.rect(area.x, area.y, area.width, area.height);
  context.clip();
  for (const name of shown) drawCurve(context, song, name, { area, view, scale, shift, isLarge: true });
  context.restore();
}

function drawOverview(canvas, song, shown) {
  const { context, width, height } = prepared(canvas);
  const area = { x: GUTTER.left, y: 2, width: width - GUTTER.left - GUTTER.right, height: height - 4 };
  context.fillStyle = colour("sunken");
  context.fillRect(area.x, area.y, area.width, area.height);
  const view = { from: 0, to: song.duration };
  const scale = fitted(song);
  for (const name of shown) drawCurve(context, song, name, { area, view, scale, shift: 0, isLarge: false });
}

// The log-Mel spectrogram, whose opacity is the level.
function drawPicture(context, picture, song, area, view) {
  const scale = picture.width / song.duration;
  context.globalAlpha = 0.35;
  context.drawImage(
    tinted(picture, colour("sound")),
    view.from * scale, 0, Math.max((view.to - view.from) * scale, 1), picture.height,
    area.x, area.y, area.width, area.height,
  );
  context.globalAlpha = 1;
}

let tint = { colour: null, canvas: null };
function tinted(picture, wanted) {
  if (tint.colour === wanted) return tint.canvas;
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = wanted;
  context.fillRect(0, 0, canvas.width, canvas.height);
  tint = { colour: wanted, canvas };
  return canvas;
}

// Grey stripes over the song's ends, where the model had less context than elsewhere.
function drawContext(context, song, area, view) {
  const [start, end] = song.context;
  context.strokeStyle = colour("faint-ink");
  context.globalAlpha = 0.3;
  context.lineWidth = 1;
  for (const [from, to] of [[0, start], [song.duration - end, song.duration]]) {
    const left = toX(Math.max(from, view.from), area, view);
    const right = toX(Math.min(to, view.to), area, view);
    if (right - left < 0.5) continue;
    context.save();
    context.beginPath();
    context.rect(left, area.y, right - left, area.height);
    context.clip();
    context.beginPath();
    for (let x = left - area.height; x < right; x += 8) {
      context.moveTo(x, area.y + area.height);
      context.lineTo(x + area.height, area.y);
    }
    context.stroke();
    context.restore();
  }
  context.globalAlpha = 1;
}

function drawAxes(context, area, view, scale) {
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = colour("faint-ink");
  context.strokeStyle = colour("faint-ink");
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const levelStep = scale.high - scale.low > 1 ? 0.5 : scale.high - scale.low > 0.4 ? 0.2 : 0.1;
  for (let i = Math.ceil(scale.low / levelStep); i * levelStep <= scale.high + 1e-6; i++) {
    const level = i * levelStep;
    const y = Math.round(toY(level, area, scale)) + 0.5;
    context.globalAlpha = i === 0 ? 0.7 : 0.2;
    line(context, area.x, y, area.x + area.width, y);
    context.globalAlpha = 1;
    const text = i === 0 ? "0" : (i < 0 ? "−" : "+") + Math.abs(level).toFixed(1);
    context.fillText(text, area.x - 6, Math.min(Math.max(y, area.y + 5), area.y + area.height - 4));
  }
  const wanted = (view.to - view.from) / Math.max(area.width / 72, 1);
  const step = TICKS.find((tick) => tick >= wanted) ?? TICKS.at(-1);
  context.textBaseline = "top";
  for (let i = Math.ceil(view.from / step); i * step <= view.to; i++) {
    const x = Math.round(toX(i * step, area, view)) + 0.5;
    context.globalAlpha = 0.2;
    line(context, x, area.y, x, area.y + area.height);
    context.globalAlpha = 1;
    const text = clock(i * step, step < 1 ? 1 : 0);
    const half = context.measureText(text).width / 2;
    context.textAlign = "center";
    context.fillText(text, Math.min(x, area.x + area.width + GUTTER.right - half), area.y + area.height + 6);
  }
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

// The scale that the curves of a song fill, wide enough that noise does not look like movement.
function fitted(song) {
  const all = Object.values(song.band ?? { v: song.valence, a: song.arousal }).flat();
  const [low, high] = all.reduce(([l, h], x) => [Math.min(l, x), Math.max(h, x)], [1, -1]);
  const half = Math.max((high - low) * 0.55, 0.15);
  const centre = Math.min(Math.max((low + high) / 2, half - 1), 1 - half);
  return half >= 1 ? FULL_SCALE : { low: centre - half, high: centre + half };
}

// Draws a curve through the middles of its segments.
function drawCurve(context, song, name, { area, view, scale, shift, isLarge }) {
  // Where values are closer than pixels, means over so many of them are drawn.
  const size = Math.max(Math.floor((2 * (view.to - view.from)) / song.hop / area.width), 1);
  const first = Math.max(Math.floor((view.from + shift) / song.hop / size) - 2, 0);
  const end = Math.min(Math.ceil((view.to + shift) / song.hop / size) + 2, Math.ceil(song.n / size));
  const path = (values, from, to, step) => {
    for (let i = from; i !== to; i += step) {
      const part = values.slice(i * size, (i + 1) * size);
      const time = (i * size + part.length / 2) * song.hop - shift;
      context.lineTo(toX(time, area, view), toY(mean(part), area, scale));
    }
  };
  if (isLarge && song.band) {
    context.beginPath();
    path(song.band[`${name}_low`], first, end, 1);
    path(song.band[`${name}_high`], end - 1, first - 1, -1);
    context.closePath();
    context.fillStyle = colour(name);
    context.globalAlpha = 0.2;
    context.fill();
    context.globalAlpha = 1;
  }
  context.lineJoin = "round";
  context.beginPath();
  path(song[name], first, end, 1);
  if (isLarge) {
    // Keeps the curve apart from the spectrogram.
    context.strokeStyle = colour("surface");
    context.globalAlpha = 0.7;
    context.lineWidth = size > 1 ? 3 : 5;
    context.stroke();
    context.globalAlpha = 1;
  }
  context.strokeStyle = colour(name);
  context.lineWidth = !isLarge ? 1 : size > 1 ? 1.5 : 2.25;
  context.stroke();
}

// The value at a time, between the middles of segments, where their values count.
function valueAt(values, song, time) {
  const position = Math.min(Math.max(time / song.hop - 0.5, 0), song.n - 1);
  const i = Math.min(Math.floor(position), song.n - 2);
  if (i < 0) return values[0];
  return values[i] + (position - i) * (values[i + 1] - values[i]);
}

// The words of a quadrant, by whether valence and whether arousal are positive.
function quadrant(song, { valence, arousal }) {
  const signs = [valence >= 0, arousal >= 0];
  return Object.keys(song.quadrants).find((words) => `${song.quadrants[words]}` === `${signs}`);
}

// The plane's points: of a long song, means over several segments.
function pathOf(song) {
  const size = Math.max(Math.ceil(song.n / 720), 1);
  const points = [];
  for (let start = 0; start < song.n; start += size) {
    const end = Math.min(start + size, song.n);
    points.push({
      time: ((start + end) / 2) * song.hop,
      valence: mean(song.valence.slice(start, end)),
      arousal: mean(song.arousal.slice(start, end)),
    });
  }
  return points;
}

const planeArea = (width) => ({ x: 22, y: 4, width: width - 26, height: width - 26 });

function planePoint(valence, arousal, area) {
  return [area.x + (area.width * (valence + 1)) / 2, area.y + (area.height * (1 - arousal)) / 2];
}

// Colours from the song's start to its end, as the legend below the plane shows.
function ramp() {
  const [early, late] = ["early", "late"].map((name) => colour(name).match(/[\d.]+/g).map(Number));
  return (share) => `rgb(${early.map((x, i) => Math.round(x + share * (late[i] - x))).join(" ")})`;
}

function drawPlane(canvas, song, points, view) {
  const { context, width } = prepared(canvas);
  const area = planeArea(width);
  context.fillStyle = colour("sunken");
  context.fillRect(area.x, area.y, area.width, area.height);
  context.strokeStyle = colour("faint-ink");
  context.globalAlpha = 0.5;
  line(context, ...planePoint(-1, 0, area), ...planePoint(1, 0, area));
  line(context, ...planePoint(0, -1, area), ...planePoint(0, 1, area));
  context.globalAlpha = 1;
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = colour("faint-ink");
  context.textBaseline = "middle";
  for (const [words, signs] of Object.entries(song.quadrants)) {
    const [v, a] = signs.map((isPositive) => (isPositive ? 1 : -1));
    context.textAlign = v > 0 ? "right" : "left";
    const [x, y] = planePoint(v, a, area);
    context.fillText(words, x - 8 * v, y + 12 * a);
  }
  context.textAlign = "center";
  context.fillText("valence →", area.x + area.width / 2, area.y + area.height + 12);
  context.save();
  context.translate(10, area.y + area.height / 2);
  context.rotate(-Math.PI / 2);
  context.fillText("arousal →", 0, 0);
  context.restore();
  drawPath(context, song, points, area, view);
}

function drawPath(context, song, points, area, view) {
  context.lineCap = "round";
  const timeColour = ramp();
  context.lineWidth = points.length > 240 ? 1.5 : 2.5;
  points.forEach(({ time, valence, arousal }, i) => {
    const isSeen = time >= view.from && time <= view.to;
    context.globalAlpha = isSeen ? 0.9 : 0.15;
    context.strokeStyle = context.fillStyle = timeColour(time / song.duration);
    const [x, y] = planePoint(valence, arousal, area);
    if (i) line(context, ...planePoint(points[i - 1].valence, points[i - 1].arousal, area), x, y);
    if (i === 0 || i === points.length - 1) {
      context.beginPath();
      context.arc(x, y, 3.5, 0, 2 * Math.PI);
      context.fill();
    }
  });
  context.globalAlpha = 1;
}

function drawDot(canvas, valence, arousal) {
  const { context, width } = prepared(canvas);
  const [x, y] = planePoint(valence, arousal, planeArea(width));
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.fillStyle = colour("ink");
  context.fill();
  context.lineWidth = 2.5;
  context.strokeStyle = colour("surface");
  context.stroke();
}
