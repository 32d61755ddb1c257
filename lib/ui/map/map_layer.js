// What lies over a map that Plotly draws: the names of what is to be seen, more of them the nearer
// one looks, titles when few documents are left, and the questions with their hits. Streamlit tells
// the server nothing of a wheel or a drag, so this happens in the browser; and a question that is
// asked does not send the points again.
//
// Where drawing takes long (no graphics card), a picture of the points follows the mouse meanwhile,
// as on a map of streets, and they are drawn anew once it rests.
//
// data: holder, the class of the element that the map is in; names, the largest first, as
// [x, y, text]; most, how many of them at a time; questions in their order, the last one is asked
// now, as [x, y, text]; placed, whether the last one is among them; hits of the last one, the best
// first, as [x, y]; color of the questions; nameColor and nameBackground of the names.

const MOST_TITLES = 40; // documents in sight, above which their titles are not shown
const MOST_CHARACTERS = 34;
const NAME_PX = { padding: 9, height: 20 };
const TITLE_PX = { beside: 7, height: 16 };
const HIT_PX = 22;
const RANK_PX = { width: 12, height: 11 };
const STAR_PX = { now: 11, before: 7 };
const REST_MS = 120; // after the last move, until the points are drawn anew
const SLOW_MS = 25; // to draw the points, above which a picture of them follows the mouse
const TRIES = 3; // the first drawing compiles, so the quickest of some counts

export default function ({ data, parentElement }) {
  const holder = parentElement.closest(`.${data.holder}`);
  let chart = null;
  let layer = null;
  let shown = [];

  const place = () => {
    if (!layer) return;
    const view = viewOf(chart);
    shown = labels(chart, view, data);
    showLabels(layer, shown);
    showQuestions(layer, view, data);
  };
  const drawn = () => {
    const above = topOf(chart);
    if (layer.nextSibling !== above) above.before(layer);
    over(layer, chart._fullLayout);
    paint(layer, data);
    follow(chart);
    place();
  };
  // Plotly puts only what it drew itself on the picture that is downloaded.
  const download = (event) => {
    if (!event.target.closest('.modebar-btn[data-title^="Download"]')) return;
    const { layout } = chart;
    const before = layout.annotations;
    const labels = shown.map((label) => annotation(label, data));
    layout.annotations = [...(before ?? []), ...labels, ...questionAnnotations(data)];
    setTimeout(() => (layout.annotations = before));
  };
  const detach = () => {
    layer?.remove();
    layer = null;
    chart?.removeListener?.('plotly_afterplot', drawn);
    chart?.removeListener?.('plotly_relayouting', place);
    chart?.removeEventListener('click', download, true);
    chart = null;
  };
  const attach = () => {
    if (layer?.isConnected) return;
    detach();
    const found = holder?.querySelector('.js-plotly-plot');
    const above = found && topOf(found);
    if (!above || !found._fullLayout?.xaxis) return; // not drawn yet, or in three dimensions
    chart = found;
    layer = document.createElement('div');
    layer.className = 'vecscope-layer';
    layer.innerHTML = '<svg width="100%" height="100%"></svg><div></div>';
    above.before(layer);
    chart.on('plotly_afterplot', drawn);
    chart.on('plotly_relayouting', place);
    chart.addEventListener('click', download, true);
    drawn();
  };
  const observer = new MutationObserver(attach);
  if (holder) observer.observe(holder, { childList: true, subtree: true });
  attach();
  return () => {
    observer.disconnect();
    detach();
  };
}

// The part of the map that is in sight; x, y: in pixels of the plot.
function viewOf(chart) {
  const { xaxis, yaxis } = chart._fullLayout;
  const [left, right] = xaxis.range;
  const [bottom, top] = yaxis.range;
  const width = xaxis._length;
  const height = yaxis._length;
  return {
    left, right, bottom, top, width, height,
    x: (x) => ((x - left) / (right - left)) * width,
    y: (y) => ((top - y) / (top - bottom)) * height,
    holds: (x, y) => left <= x && x <= right && bottom <= y && y <= top,
  };
}

// What Plotly draws above the points: what it says of the one under the mouse belongs to it.
const topOf = (chart) => [...chart.querySelectorAll('.main-svg')].at(-1);

// Puts an element exactly over the plot.
function over(element, { xaxis, yaxis }) {
  Object.assign(element.style, {
    position: 'absolute',
    overflow: 'hidden',
    pointerEvents: 'none',
    left: `${xaxis._offset}px`,
    top: `${yaxis._offset}px`,
    width: `${xaxis._length}px`,
    height: `${yaxis._length}px`,
  });
}

// By day or by night, in the font of the page.
function paint(layer, { nameColor, nameBackground }) {
  const { color, backgroundColor, fontFamily } = appStyle();
  layer.style.setProperty('--vecscope-font', fontFamily);
  layer.style.setProperty('--vecscope-ink', color);
  layer.style.setProperty('--vecscope-paper', backgroundColor);
  layer.style.setProperty('--vecscope-name', nameColor);
  layer.style.setProperty('--vecscope-name-ground', nameBackground);
}

const appStyle = () => getComputedStyle(document.querySelector('.stApp') ?? document.body);

// --- names and titles ----------------------------------------------------------------------------

// What the questions are, then the names of the largest clusters in sight, then the titles of the
// documents where these are few; none hides one before it. x, y: of the middle, in pixels.
function labels(chart, view, { names, most, questions, hits }) {
  const found = [];
  const put = (one) => apart(one, found) && found.push(one);
  for (const [x, y, text] of [...questions].reverse()) {
    if (view.holds(x, y)) put(beside(view, [x, y], shortened(text), STAR_PX.now + 3, 'question'));
  }
  for (const [x, y] of hits) {
    found.push({ kind: null, x: view.x(x), y: view.y(y), width: HIT_PX, height: HIT_PX });
  }
  const taken = found.length;
  for (const [x, y, name] of names) {
    if (found.length - taken >= most) break;
    if (!view.holds(x, y)) continue;
    const text = shortened(name);
    const width = widthOf(text) + NAME_PX.padding;
    const { height } = NAME_PX;
    // One at the edge is moved inside.
    const inside = [
      within(view.x(x), width / 2, view.width - width / 2),
      within(view.y(y), height / 2, view.height - height / 2),
    ];
    const shift = [inside[0] - view.x(x), view.y(y) - inside[1]];
    put({ kind: 'name', text, at: [x, y], shift, width, height, x: inside[0], y: inside[1] });
  }
  if (most > 0) {
    for (const [at, text] of titles(chart, view)) {
      put(beside(view, at, text, TITLE_PX.beside, 'title'));
    }
  }
  return found.filter(({ kind }) => kind);
}

// Whether a label overlaps none of the others.
const apart = (one, others) =>
  others.every(
    (other) =>
      Math.abs(one.x - other.x) >= (one.width + other.width) / 2 ||
      Math.abs(one.y - other.y) >= (one.height + other.height) / 2,
  );

// A text to the right of its place, or to the left where there is no room.
function beside(view, at, text, gap, kind) {
  const width = widthOf(text);
  const side = view.x(at[0]) + gap + width > view.width ? -1 : 1;
  const x = view.x(at[0]) + side * (gap + width / 2);
  return { kind, text, at, side, gap, width, height: TITLE_PX.height, x, y: view.y(at[1]) };
}

// Of all documents in sight, none where there are more than a few.
function titles(chart, view) {
  const found = [];
  for (const trace of chart._fullData) {
    if (trace.type !== 'scattergl' || trace.visible !== true) continue;
    const { x, y, hovertext } = trace;
    for (let n = 0; n < x.length; n++) {
      if (!view.holds(x[n], y[n])) continue;
      if (found.length === MOST_TITLES) return [];
      found.push([[x[n], y[n]], hovertext[n]]);
    }
  }
  return found.map(([at, text]) => [at, shortened(plain(text))]);
}

function showLabels(layer, all) {
  const holder = layer.children[1];
  while (holder.children.length > all.length) holder.lastChild.remove();
  while (holder.children.length < all.length) holder.append(document.createElement('span'));
  all.forEach(({ kind, text, x, y }, n) => {
    const label = holder.children[n];
    if (label.textContent !== text) label.textContent = text;
    label.className = `vecscope-${kind}`;
    label.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
  });
}

// A label as an annotation of Plotly's.
function annotation({ kind, text, side, gap, shift, at: [x, y] }, { nameColor, nameBackground }) {
  const common = { x, y, text: escaped(text), showarrow: false, borderpad: 2 };
  if (kind === 'name') {
    const [xshift, yshift] = shift;
    const font = { size: 12, color: nameColor };
    return { ...common, font, bgcolor: nameBackground, xshift, yshift };
  }
  const xanchor = side > 0 ? 'left' : 'right';
  const font = { size: 11, color: appStyle().color };
  return { ...common, font, xanchor, xshift: side * gap };
}

let pen = null;
const widths = new Map();
function widthOf(text) {
  if (!pen) {
    pen = document.createElement('canvas').getContext('2d');
    pen.font = `12px ${appStyle().fontFamily}`;
  }
  if (!widths.has(text)) widths.set(text, pen.measureText(text).width);
  return widths.get(text);
}

// Plotly's texts are HTML.
const plain = (text) =>
  new DOMParser().parseFromString(String(text), 'text/html').body.textContent;
const escaped = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const shortened = (text) => {
  const characters = [...text];
  if (characters.length <= MOST_CHARACTERS) return text;
  return `${characters.slice(0, MOST_CHARACTERS - 1).join('').trimEnd()}…`;
};
const within = (x, low, high) => Math.min(Math.max(x, low), Math.max(low, high));

// --- questions -----------------------------------------------------------------------------------

// The path through the questions, lines from the last one to its hits, rings around these with their
// ranks as far as there is room, and a star for each question.
function showQuestions(layer, view, { questions, placed, hits, color }) {
  const [svg] = layer.children;
  const point = ([x, y]) => [view.x(x), view.y(y)];
  const stars = questions.map(point);
  const rings = hits.map(point);
  const now = placed ? stars.at(-1) : null;
  const parts = [];
  const ranks = [];
  for (let n = 1; n < stars.length; n++) {
    parts.push(element('line', { class: 'path', ...ends(stars[n - 1], stars[n]) }));
  }
  for (const ring of rings) {
    if (now) parts.push(element('line', { class: 'spoke', ...ends(now, ring) }));
  }
  rings.forEach(([cx, cy], n) => {
    parts.push(element('circle', { class: 'halo', cx, cy, r: 7 }));
    parts.push(element('circle', { class: 'hit', cx, cy, r: 7 }));
    const rank = { x: cx, y: cy - 11, ...RANK_PX };
    if (!apart(rank, ranks)) return;
    ranks.push(rank);
    parts.push(element('text', { class: 'rank', x: rank.x, y: rank.y }, n + 1));
  });
  stars.forEach((star, n) => {
    const radius = n === stars.length - 1 && placed ? STAR_PX.now : STAR_PX.before;
    parts.push(element('polygon', { class: 'star', points: starAround(star, radius) }));
  });
  svg.style.color = color;
  svg.replaceChildren(...parts);
}

const ends = ([x1, y1], [x2, y2]) => ({ x1, y1, x2, y2 });

function starAround([x, y], radius) {
  return Array.from({ length: 10 }, (_, n) => {
    const far = n % 2 ? radius * 0.45 : radius;
    return [x + far * Math.sin((n * Math.PI) / 5), y - far * Math.cos((n * Math.PI) / 5)];
  }).join(' ');
}

function element(name, attributes, text = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// The questions as annotations of Plotly's.
function questionAnnotations({ questions, placed, hits, color }) {
  const arrow = ([ax, ay], [x, y], arrowhead) => ({
    text: '', x, y, ax, ay, axref: 'x', ayref: 'y', arrowhead, arrowcolor: color, arrowwidth: 1.5,
    opacity: 0.8,
  });
  const sign = ([x, y], text, size, yshift = 0) => ({
    x, y, text, showarrow: false, yshift, font: { size, color },
  });
  const now = placed ? questions.at(-1) : null;
  return [
    ...questions.slice(1).map((question, n) => arrow(questions[n], question, 2)),
    ...(now ? hits.map((hit) => arrow(now, hit, 6)) : []),
    ...hits.map((hit) => sign(hit, '○', 20)),
    ...hits.map((hit, n) => sign(hit, `${n + 1}`, 11, 13)),
    ...questions.map((question) => sign(question, '★', 22)),
  ];
}

// --- a picture that follows the mouse ------------------------------------------------------------

// Plotly draws the points anew at each move of the mouse, by the scene of its plot: `update` tells
// it what is in sight, `draw` draws. Where that takes long, both are put off. A plot that has no
// such scene is left as it is.
function follow(chart) {
  const scene = chart._fullLayout._plots?.xy?._scene;
  if (!scene?.draw || !scene.update || scene.followed) return;
  scene.followed = true;
  const { draw, update } = scene;
  const took = [];
  let picture = null; // of the points, as they were drawn last
  let drawnView = null;
  let put = null; // what `update` was told and has not done yet
  let moving = false;
  let rest = 0;

  const really = () => {
    clearTimeout(rest);
    put = null;
    const begun = performance.now();
    draw();
    if (took.length < TRIES) {
      finish(chart);
      took.push(performance.now() - begun);
    }
    picture?.remove();
    picture = null;
    drawnView = viewOf(chart);
  };
  scene.update = (options) => {
    const slow = took.length === TRIES && Math.min(...took) > SLOW_MS;
    if (!slow || !options.range || !drawnView) return update(options);
    moving = true; // Plotly clears the points next, and then draws
    put = options;
    picture ??= pictureOf(chart);
  };
  scene.draw = () => {
    if (!moving) return really();
    moving = false;
    move(picture, drawnView, viewOf(chart), chart._fullLayout);
    clearTimeout(rest);
    rest = setTimeout(() => {
      if (!chart.isConnected || !scene.scatter2d) return;
      update(put);
      really();
    }, REST_MS);
  };
}

const canvasesOf = (chart) => [...chart.querySelectorAll('.gl-canvas')];

// Waits until the points are drawn: one of them is asked for.
function finish(chart) {
  for (const canvas of canvasesOf(chart)) {
    const gl = canvas.getContext('webgl');
    gl?.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  }
}

// In place of the points, which it hides. Has `remove`, which shows them again.
function pictureOf(chart) {
  const points = canvasesOf(chart);
  const [first] = points;
  const { xaxis, yaxis } = chart._fullLayout;
  const still = document.createElement('canvas');
  still.width = first.width;
  still.height = first.height;
  const pen2d = still.getContext('2d');
  for (const canvas of points) {
    if (!canvas.classList.contains('gl-canvas-pick')) pen2d.drawImage(canvas, 0, 0);
    canvas.style.visibility = 'hidden';
  }
  Object.assign(still.style, {
    position: 'absolute',
    left: `${-xaxis._offset}px`,
    top: `${-yaxis._offset}px`,
    width: first.style.width,
    height: first.style.height,
    transformOrigin: '0 0',
    willChange: 'transform',
  });
  const frame = document.createElement('div');
  over(frame, chart._fullLayout);
  frame.append(still);
  first.parentElement.append(frame);
  return {
    still,
    remove: () => {
      frame.remove();
      for (const canvas of points) canvas.style.visibility = '';
    },
  };
}

// The picture was taken of `before`; `now` is in sight.
function move({ still }, before, now, { xaxis, yaxis }) {
  const wide = (before.right - before.left) / (now.right - now.left);
  const high = (before.top - before.bottom) / (now.top - now.bottom);
  const x = xaxis._offset * (1 - wide) + now.x(before.left);
  const y = yaxis._offset * (1 - high) + now.y(before.top);
  still.style.transform = `translate(${x}px, ${y}px) scale(${wide}, ${high})`;
}
