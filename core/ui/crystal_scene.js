// Crystals drawn by 3Dmol from numbers alone: atoms of a cell repeated, bonds and polyhedra as the server found them.
"use strict";
const MOST = 4000; // atoms drawn at once
const EDGE = 0.02, NEAR = 0.15; // a site so near a face, as a share of the cell or in Å, is drawn on the opposite one too
const TAN = Math.tan(Math.PI / 9), CAMERA = 150; // 3Dmol's: half the width it shows at a distance, the camera's place
const AXIS = {a: "#d0524b", b: "#4a9a4f", c: "#4a7fd0"};
const el = id => document.getElementById(id);
const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
const norm = u => { const l = Math.hypot(...u) || 1; return u.map(x => x / l); };
const minus = (u, v) => u.map((x, k) => x - v[k]);
const place = (cell, f) => [0, 1, 2].map(k => f[0] * cell[0][k] + f[1] * cell[1][k] + f[2] * cell[2][k]);
const xyz = p => ({x: p[0], y: p[1], z: p[2]});

function edgesOf(cell) { // for each axis, how near a face counts as on it: share of the cell between the two faces
  const volume = Math.abs(dot(cell[0], cross(cell[1], cell[2])));
  return [0, 1, 2].map(k => Math.min(0.25, Math.max(EDGE, NEAR * Math.hypot(...cross(cell[(k + 1) % 3], cell[(k + 2) % 3])) / volume)));
}

function isDark() { // the page around it is ours: the same origin
  try {
    const app = parent.document.querySelector(".stApp");
    const c = getComputedStyle(app).backgroundColor.match(/[\d.]+/g).map(Number);
    return 0.3 * c[0] + 0.6 * c[1] + 0.1 * c[2] < 110;
  } catch (_) { return matchMedia("(prefers-color-scheme: dark)").matches; }
}

function stored(name, fallback) {
  try { return {...fallback, ...JSON.parse(sessionStorage.getItem(name) || "{}")}; } catch (_) { return {...fallback}; }
}
function keep(name, value) { try { sessionStorage.setItem(name, JSON.stringify(value)); } catch (_) { /* not kept */ } }

function quaternion(right, up, out) { // of the rotation that brings these to x, y, z of the screen
  const m = [right, up, out], t = m[0][0] + m[1][1] + m[2][2];
  let q;
  if (t > 0) {
    const s = 2 * Math.sqrt(t + 1);
    q = [(m[2][1] - m[1][2]) / s, (m[0][2] - m[2][0]) / s, (m[1][0] - m[0][1]) / s, s / 4];
  } else {
    const i = m[0][0] > m[1][1] ? (m[0][0] > m[2][2] ? 0 : 2) : (m[1][1] > m[2][2] ? 1 : 2), j = (i + 1) % 3, k = (i + 2) % 3;
    const s = 2 * Math.sqrt(1 + m[i][i] - m[j][j] - m[k][k]);
    q = [0, 0, 0, (m[k][j] - m[j][k]) / s];
    q[i] = s / 4; q[j] = (m[j][i] + m[i][j]) / s; q[k] = (m[k][i] + m[i][k]) / s;
  }
  return q;
}
function turned(q, p) { // p turned by the quaternion
  const u = [q[0], q[1], q[2]], t = cross(u, p).map(x => 2 * x), s = cross(u, t);
  return p.map((x, k) => x + q[3] * t[k] + s[k]);
}

class Scene {
  constructor(view, box, data) {
    this.view = view; this.box = box; this.data = data; this.cell = null; this.atoms = []; this.picked = [];
  }

  ground(dark) { this.view.setBackgroundColor(dark ? "#14181b" : "#fcfcfb", 1); } // what is translucent needs one

  once(work) { // 3Dmol draws after every single change: here only when all of them are made
    this.view.show = () => this.view;
    try { work(); } finally { delete this.view.show; }
    this.view.render();
  }

  // most: every atom of n cells with those on the boundary counted once
  fits(cell, n) { return cell.frac.length * n[0] * n[1] * n[2] <= MOST; }

  draw(state) {
    const cell = this.cell = this.data.cells[state.cell] || this.data.cells[0], n = state.n;
    this.state = state;
    this.ground(state.dark);
    this.gather(cell, n, state);
    const view = this.view;
    view.removeAllModels(); view.removeAllShapes(); view.removeAllLabels();
    this.drawAtoms(state);
    this.drawCells(cell.lattice, n);
    if (state.polyhedra) this.drawPolyhedra(state);
    if (state.labels) this.drawLabels(state);
    this.picked = [];
    view.setSlab(-500, 500);
  }

  gather(cell, n, state) { // which atoms are drawn: of the cells, their images on the boundary, corners of polyhedra
    const at = new Map(), atoms = [];
    const put = (site, s, image) => {
      const key = site + "," + s;
      if (!at.has(key)) {
        at.set(key, atoms.length);
        const f = cell.frac[site].map((x, k) => x + s[k]);
        atoms.push({site, shift: s, image, pos: place(cell.lattice, f), kind: cell.kind[site], links: []});
      }
      return at.get(key);
    };
    const edges = edgesOf(cell.lattice), images = state.beyond !== "none";
    const range = (x, m, edge) => {
      const low = images && x > 1 - edge ? -1 : 0, high = images && x < edge ? m : m - 1;
      return Array.from({length: high - low + 1}, (_, k) => low + k);
    };
    cell.frac.forEach((f, site) => {
      for (const i of range(f[0], n[0], edges[0])) for (const j of range(f[1], n[1], edges[1])) for (const k of range(f[2], n[2], edges[2]))
        put(site, [i, j, k], i < 0 || j < 0 || k < 0 || i >= n[0] || j >= n[1] || k >= n[2]);
    });
    const beside = cell.frac.map(() => []);
    for (const [i, j, ...t] of cell.bonds) { beside[i].push([j, t]); beside[j].push([i, t.map(x => -x)]); }
    if (state.beyond === "bonded")
      for (const a of atoms.filter(b => !b.image && !state.hidden.includes(b.kind)))
        for (const [j, t] of beside[a.site]) if (atoms.length < 2 * MOST) put(j, a.shift.map((x, k) => x + t[k]), true);
    this.polyhedra = [];
    if (state.polyhedra) {
      const of = new Map(cell.polyhedra.map(p => [p.centre, p]));
      for (const a of atoms.slice()) {
        const p = of.get(a.site);
        if (p && !state.hidden.includes(a.kind) && atoms.length < 2 * MOST)
          this.polyhedra.push([a, p, p.corners.map(c => put(c[0], [1, 2, 3].map(k => c[k] + a.shift[k - 1]), true))]);
      }
    }
    atoms.forEach((a, index) => {
      for (const [j, t] of beside[a.site]) {
        const other = at.get(j + "," + a.shift.map((x, k) => x + t[k]));
        if (other !== undefined && other !== index && !a.links.includes(other)) a.links.push(other);
      }
    });
    this.atoms = atoms;
  }

  drawAtoms(state) {
    const model = this.view.addModel();
    model.addAtoms(this.atoms.map((a, index) => ({
      elem: this.data.elements[a.kind].symbol, ...xyz(a.pos), serial: index, index,
      bonds: state.bonds ? a.links : [], bondOrder: state.bonds ? a.links.map(() => 1) : [], hetflag: true,
    })));
    this.data.elements.forEach((e, kind) => {
      const color = state.colours[kind];
      const style = state.hidden.includes(kind) ? {} : {sphere: {color, radius: e.radius}};
      if (state.bonds && !state.hidden.includes(kind)) style.stick = {color, radius: state.polyhedra && this.polyhedra.length ? 0.06 : 0.1};
      model.setStyle({elem: e.symbol}, style);
    });
    if (this.onPick) model.setClickable({}, true, atom => this.pick(atom.serial));
  }

  drawCells(lattice, n) { // every cell's edges; a, b and c of the first in colour
    const shape = this.shape(), others = [[1, 2], [0, 2], [0, 1]];
    others.forEach(([j, k], axis) => {
      for (let u = 0; u <= n[j]; u++) for (let v = 0; v <= n[k]; v++) {
        const first = !u && !v, from = [0, 0, 0], mid = [0, 0, 0], to = [0, 0, 0];
        from[j] = mid[j] = to[j] = u; from[k] = mid[k] = to[k] = v; mid[axis] = first ? 1 : 0; to[axis] = n[axis];
        const outer = (u === 0 || u === n[j]) && (v === 0 || v === n[k]);
        if (first) this.line(shape, lattice, from, mid, 0.05, Object.values(AXIS)[axis]);
        if (!first || n[axis] > 1) this.line(shape, lattice, mid, to, outer ? 0.025 : 0.012, "#8a9094");
      }
    });
  }

  shape(spec = {}) { // one whose parts keep their own colours
    const shape = this.view.addShape(spec);
    shape.color = undefined;
    return shape;
  }

  line(shape, lattice, from, to, radius, color) {
    shape.addCylinder({start: xyz(place(lattice, from)), end: xyz(place(lattice, to)), radius, color: $3Dmol.CC.color(color), fromCap: 1, toCap: 1});
  }

  drawPolyhedra(state) { // one mesh for each element, flat faces, and their edges
    const many = this.polyhedra.reduce((sum, [, p]) => sum + p.edges.length, 0) > 1500;
    this.data.elements.forEach((_, kind) => {
      const mine = this.polyhedra.filter(([a]) => a.kind === kind);
      if (!mine.length) return;
      const mesh = {vertexArr: [], normalArr: [], faceArr: [], color: $3Dmol.CC.color(state.colours[kind])};
      const edges = this.shape();
      for (const [a, p, corners] of mine) {
        for (const t of p.triangles) {
          const q = t.map(c => this.atoms[corners[c]].pos), face = norm(cross(minus(q[1], q[0]), minus(q[2], q[0])));
          for (const v of q) { mesh.faceArr.push(mesh.vertexArr.length); mesh.vertexArr.push(xyz(v)); mesh.normalArr.push(xyz(norm(minus(v, a.pos).map((x, k) => 0.5 * x / 2 + face[k])))); }
        }
        if (!many) for (const [i, j] of p.edges)
          edges.addCylinder({start: xyz(this.atoms[corners[i]].pos), end: xyz(this.atoms[corners[j]].pos), radius: 0.02, color: $3Dmol.CC.color(state.colours[kind])});
      }
      this.view.addShape({alpha: 0.62, color: state.colours[kind]}).addCustom(mesh);
    });
  }

  uncovered(state) { // atoms whose middle no other hides from the eye
    const q = this.view.getView().slice(4, 8), shown = this.atoms.filter(a => !state.hidden.includes(a.kind));
    if (shown.length > 600) return [];
    const seen = shown.map(a => [turned(q, a.pos), this.data.elements[a.kind].radius]);
    return shown.filter((_, i) => !seen.some(([p, r], j) =>
      i !== j && p[2] > seen[i][0][2] + 0.01 && Math.hypot(p[0] - seen[i][0][0], p[1] - seen[i][0][1]) < r));
  }

  drawLabels(state) {
    for (const a of this.uncovered(state))
      this.view.addLabel(this.named(a), {position: xyz(a.pos), fontSize: 12, fontColor: state.dark ? "#ffffff" : "#111111",
        backgroundColor: state.dark ? "#14181b" : "#ffffff", backgroundOpacity: 0.65, alignment: "center", inFront: true}, undefined, true);
  }

  named(a) { return this.data.elements[a.kind].symbol + (a.site + 1); }

  pick(index) { // one atom: where it is; two: their distance; three: the angle at the second
    if (this.picked.length === 3 || this.picked.includes(index)) this.picked = [];
    this.picked.push(index);
    this.view.removeAllLabels();
    if (this.state.labels) this.drawLabels(this.state);
    const chosen = this.picked.map(i => this.atoms[i]);
    chosen.forEach(a => this.view.addLabel(this.named(a), {position: xyz(a.pos), fontSize: 13, fontColor: "#ffffff",
      backgroundColor: "#2f6f8f", backgroundOpacity: 0.9, alignment: "center", inFront: true}, undefined, true));
    this.view.render();
    const names = chosen.map(a => this.named(a)).join(" – "), p = chosen.map(a => a.pos);
    if (chosen.length === 1)
      return this.onPick(`${names}: ${this.cell.frac[chosen[0].site].map(x => x.toFixed(4)).join(", ")} (click another for the distance)`);
    if (chosen.length === 2) return this.onPick(`${names}: ${Math.hypot(...minus(p[0], p[1])).toFixed(3)} Å`);
    const u = norm(minus(p[0], p[1])), v = norm(minus(p[2], p[1]));
    return this.onPick(`${names}: ${(Math.acos(Math.max(-1, Math.min(1, dot(u, v)))) * 180 / Math.PI).toFixed(1)}°`);
  }

  axes() { const [a, b, c] = this.cell.lattice; return {a, b, c, "a*": cross(b, c), "b*": cross(c, a), "c*": cross(a, b)}; }

  look(out, up, tilt = 0, lean = 0) { // along `out` with `up` upwards; tilt, lean: degrees about the screen's y and x
    let z = norm(out), y = norm(minus(up, z.map(x => x * dot(up, z))));
    let x = cross(y, z);
    const [s, c] = [Math.sin(tilt * Math.PI / 180), Math.cos(tilt * Math.PI / 180)];
    [x, z] = [x.map((v, k) => c * v + s * z[k]), z.map((v, k) => c * v - s * x[k])];
    const [p, q] = [Math.sin(lean * Math.PI / 180), Math.cos(lean * Math.PI / 180)];
    [y, z] = [y.map((v, k) => q * v - p * z[k]), z.map((v, k) => q * v + p * y[k])];
    this.turnTo(quaternion(x, y, z));
  }

  along(name) {
    const axes = this.axes(), up = {a: "c", b: "c", c: "b", "a*": "c", "b*": "c", "c*": "b"}[name];
    this.look(axes[name], axes[up]);
  }

  home() { const axes = this.axes(); this.look(axes["a*"], axes.c, -24, 14); }

  turnTo(q) { this.view.setView([...this.view.getView().slice(0, 4), ...q]); }

  extent() { // middle of what is drawn and its half sizes on the screen, in Å
    const q = this.view.getView().slice(4, 8), n = this.state.n, points = this.atoms.map(a => [a.pos, this.data.elements[a.kind].radius]);
    for (const i of [0, n[0]]) for (const j of [0, n[1]]) for (const k of [0, n[2]]) points.push([place(this.cell.lattice, [i, j, k]), 0.1]);
    const low = [1e9, 1e9, 1e9], high = [-1e9, -1e9, -1e9];
    for (const [p, r] of points) turned(q, p).forEach((x, k) => { low[k] = Math.min(low[k], x - r); high[k] = Math.max(high[k], x + r); });
    const middle = low.map((x, k) => (x + high[k]) / 2), back = [-q[0], -q[1], -q[2], q[3]];
    return {middle: turned(back, middle), half: low.map((x, k) => (high[k] - x) / 2)};
  }

  frame(half, margin = 1.06, foot = null, head = null) { // the whole of it, as large as it goes between words and legend
    const [w, h] = this.box(), {middle} = this.extent();
    foot ??= h > 200 ? 36 : 0; head ??= h > 200 ? 24 : 0;
    const wide = Math.max(half[0], half[1] * Math.max(0.2, w / Math.max(1, h - foot - head)), 1) * margin; // half of it, in Å
    this.view.setView([...middle.map(x => -x), CAMERA - wide / TAN, ...this.view.getView().slice(4, 8), 0, (foot - head) * wide / w]);
  }

  fit() { this.frame(this.extent().half); }

  turnBy(degrees, axis) { this.view.rotate(degrees, axis); }
}

function gizmo(svg, lattice, q, dark) { // a, b and c as they lie now, the farthest first
  const tips = ["a", "b", "c"].map((name, k) => [name, turned(q, norm(lattice[k]))]).sort((u, v) => u[1][2] - v[1][2]);
  svg.innerHTML = tips.map(([name, p]) => {
    const [x, y] = [38 + 23 * p[0], 38 - 23 * p[1]], far = Math.hypot(p[0], p[1]) > 0.25 ? 33 / Math.max(0.75, Math.hypot(p[0], p[1])) : 12;
    const [u, v] = Math.hypot(p[0], p[1]) > 0.25 ? [38 + far * p[0], 38 - far * p[1]] : [46, 32];
    return `<line x1="38" y1="38" x2="${x.toFixed(1)}" y2="${y.toFixed(1)}" stroke="${AXIS[name]}" stroke-width="2.6" stroke-linecap="round"/>` +
      `<text x="${u.toFixed(1)}" y="${v.toFixed(1)}" fill="${AXIS[name]}" stroke="${dark ? "#14181b" : "#fcfcfb"}" stroke-width="3" ` +
      `paint-order="stroke" font-size="13" font-weight="600" text-anchor="middle" dominant-baseline="central">${name}</text>`;
  }).join("");
}
