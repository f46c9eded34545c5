// Shows one binary glTF 2.0 model in a canvas, with nothing but WebGL 2. The picture stays where that fails.
//
// Drawn are triangles with positions, normals, base colour (factor and texture) and emission, lit as the
// gateway's own pictures are. Not drawn: skins, animations, sparse accessors and extensions.
//
// Models are checked before they are stored, and still a merchant's: nothing is allocated by a count that the
// file has no bytes for, and a mesh is read once however many nodes show it.

const YAW = 0.55, PITCH = 0.35, FIELD = 0.55;
const JSON_CHUNK = 0x4e4f534a, BINARY_CHUNK = 0x004e4942;
const ARRAYS = {
  5120: Int8Array, 5121: Uint8Array, 5122: Int16Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array,
};
const MOST_NODES = 2000, DEEPEST = 64, MOST_PARTS = 4000, MOST_CORNERS = 6e6;
const LARGEST = { 5120: 127, 5121: 255, 5122: 32767, 5123: 65535 };
const WIDTHS = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 };

const VERTEX = `#version 300 es
in vec3 position; in vec3 normal; in vec2 spot;
uniform mat4 place, seen;
uniform mat3 turned;
out vec3 towards; out vec2 at;
void main() { towards = turned * normal; at = spot; gl_Position = seen * place * vec4(position, 1.0); }`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 towards; in vec2 at;
uniform vec4 color; uniform vec3 glow; uniform float cutoff; uniform bool blended, textured;
uniform sampler2D image;
out vec4 shown;
void main() {
  vec4 base = color;
  if (textured) { vec4 texel = texture(image, at); base *= vec4(pow(texel.rgb, vec3(2.2)), texel.a); }
  if (base.a < cutoff) discard;
  vec3 n = normalize(towards) * (gl_FrontFacing ? 1.0 : -1.0);
  float light = 0.38 + 0.12 * n.y + 0.75 * max(dot(n, normalize(vec3(-0.45, 0.75, 0.6))), 0.0)
    + 0.28 * max(dot(n, normalize(vec3(0.8, 0.15, 0.5))), 0.0);
  float alpha = blended ? base.a : 1.0;
  shown = vec4(pow(clamp(base.rgb * light + glow, 0.0, 1.0), vec3(1.0 / 2.2)) * alpha, alpha);
}`;

// --- Matrices: 16 numbers, column by column, as WebGL takes them ---

function times(a, b) {
  const out = new Float32Array(16);
  for (let column = 0; column < 4; column++)
    for (let row = 0; row < 4; row++)
      for (let at = 0; at < 4; at++) out[column * 4 + row] += a[at * 4 + row] * b[column * 4 + at];
  return out;
}

const identity = () => new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);

function local(node) {
  if (node.matrix) return new Float32Array(node.matrix);
  const [x, y, z, w] = node.rotation ?? [0, 0, 0, 1];
  const [sx, sy, sz] = node.scale ?? [1, 1, 1];
  const [tx, ty, tz] = node.translation ?? [0, 0, 0];
  return new Float32Array([
    (1 - 2 * (y * y + z * z)) * sx, 2 * (x * y + z * w) * sx, 2 * (x * z - y * w) * sx, 0,
    2 * (x * y - z * w) * sy, (1 - 2 * (x * x + z * z)) * sy, 2 * (y * z + x * w) * sy, 0,
    2 * (x * z + y * w) * sz, 2 * (y * z - x * w) * sz, (1 - 2 * (x * x + y * y)) * sz, 0,
    tx, ty, tz, 1,
  ]);
}

// What normals turn with: the cofactors of the upper left, which are the inverse transpose but for a scale.
function normalTurn(m) {
  const [a, b, c, , d, e, f, , g, h, i] = m;
  return new Float32Array([
    e * i - f * h, f * g - d * i, d * h - e * g,
    c * h - b * i, a * i - c * g, b * g - a * h,
    b * f - c * e, c * d - a * f, a * e - b * d,
  ]);
}

function isMirrored(m) {
  const n = normalTurn(m);
  return m[0] * n[0] + m[1] * n[1] + m[2] * n[2] < 0;
}

const point = (m, [x, y, z]) => [0, 1, 2].map((row) => m[row] * x + m[4 + row] * y + m[8 + row] * z + m[12 + row]);

// --- Reading a model ---

function readGlb(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0, true) !== 0x46546c67 || view.getUint32(4, true) !== 2) throw new Error("no glTF 2.0");
  let gltf = null, binary = null;
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const length = view.getUint32(at, true), kind = view.getUint32(at + 4, true);
    // The first of a kind counts, as where models are checked.
    if (kind === JSON_CHUNK && gltf === null) gltf = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, at + 8, length)));
    else if (kind === BINARY_CHUNK && binary === null) binary = new Uint8Array(buffer, at + 8, length);
    at += 8 + length;
  }
  return { gltf, binary: binary ?? new Uint8Array(0) };
}

function values({ gltf, binary }, index) {
  const accessor = gltf.accessors[index], width = WIDTHS[accessor.type], Kind = ARRAYS[accessor.componentType];
  if (accessor.sparse || !Kind || !width) throw new Error("an accessor of a kind that is not drawn");
  const size = Kind.BYTES_PER_ELEMENT * width;
  const count = accessor.count, view = gltf.bufferViews[accessor.bufferView], stride = view.byteStride ?? size;
  const first = (view.byteOffset ?? 0) + (accessor.byteOffset ?? 0), end = first + stride * (count - 1) + size;
  if (![count, first, stride].every(Number.isSafeInteger) || count < 1 || first < 0 || stride < size)
    throw new Error("an accessor that makes no sense");
  if (end > binary.byteLength) throw new Error("an accessor beyond the file");
  // Copied, because an offset in the file need not suit the kind of array.
  if (stride === size) return new Kind(binary.slice(first, end).buffer);
  const bytes = new Uint8Array(count * size);
  for (let at = 0, from = first; at < count; at++, from += stride)
    bytes.set(binary.subarray(from, from + size), at * size);
  return new Kind(bytes.buffer);
}

function floats(model, index) {
  const found = values(model, index), accessor = model.gltf.accessors[index];
  if (found instanceof Float32Array) return found;
  const largest = accessor.normalized ? LARGEST[accessor.componentType] : 1;
  return Float32Array.from(found, (value) => Math.max(value / largest, -1));
}

// The corners of the box around points.
function boxed(points) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let at = 0; at < points.length; at++) {
    const axis = at % 3;
    if (points[at] < low[axis]) low[axis] = points[at];
    if (points[at] > high[axis]) high[axis] = points[at];
  }
  return [0, 1, 2, 3, 4, 5, 6, 7].map((corner) => [0, 1, 2].map((axis) => (corner >> axis & 1 ? high : low)[axis]));
}

// For a model without normals (glTF 2.0, section 3.7.2.1). No corner is shared.
function flat(corners) {
  const normals = new Float32Array(corners.length);
  for (let at = 0; at < corners.length; at += 9) {
    const ax = corners[at], ay = corners[at + 1], az = corners[at + 2];
    const ux = corners[at + 3] - ax, uy = corners[at + 4] - ay, uz = corners[at + 5] - az;
    const vx = corners[at + 6] - ax, vy = corners[at + 7] - ay, vz = corners[at + 8] - az;
    for (let corner = at; corner < at + 9; corner += 3) {
      normals[corner] = uy * vz - uz * vy;
      normals[corner + 1] = uz * vx - ux * vz;
      normals[corner + 2] = ux * vy - uy * vx;
    }
  }
  return normals;
}

function picked(data, indices, width) {
  const out = new Float32Array(indices.length * width);
  for (let at = 0, to = 0; at < indices.length; at++)
    for (let part = 0; part < width; part++) out[to++] = data[indices[at] * width + part];
  return out;
}

async function pictures({ gltf, binary }, wanted) {
  const found = new Map();
  for (const index of wanted) {
    const source = gltf.textures?.[index]?.source, image = gltf.images?.[source];
    if (image?.bufferView === undefined) continue;
    const view = gltf.bufferViews[image.bufferView], from = view.byteOffset ?? 0;
    const bytes = binary.slice(from, from + view.byteLength);
    const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
    found.set(index, await createImageBitmap(new Blob([bytes], { type: image.mimeType }), options));
  }
  return found;
}

// --- Drawing ---

class Viewer {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { alpha: true, antialias: true, premultipliedAlpha: true });
    if (!this.gl) throw new Error("no WebGL 2");
    [this.yaw, this.pitch, this.distance] = [YAW, PITCH, 1];
  }

  async load(address) {
    const answer = await fetch(address, { credentials: "omit" });
    if (!answer.ok) throw new Error(`the model is not there: ${answer.status}`);
    const model = readGlb(await answer.arrayBuffer()), { gltf } = model, gl = this.gl;
    this.program = this.linked();
    this.names = Object.fromEntries(
      ["place", "seen", "turned", "color", "glow", "cutoff", "blended", "textured", "image"].map((name) => [
        name, gl.getUniformLocation(this.program, name),
      ]),
    );
    const materials = gltf.materials ?? [];
    const textures = materials.map((its) => its.pbrMetallicRoughness?.baseColorTexture?.index);
    this.images = new Map();
    this.meshes = new Map();
    [this.nodes, this.read, this.corners] = [0, 0, 0];
    const kept = await pictures(model, new Set(textures.filter((index) => index !== undefined)));
    for (const [index, bitmap] of kept) {
      this.images.set(index, this.texture(bitmap, gltf.textures[index], gltf));
      bitmap.close();
    }
    this.parts = [];
    [this.low, this.high] = [Infinity, -Infinity].map((value) => [value, value, value]);
    const scene = gltf.scenes?.[gltf.scene ?? 0];
    for (const index of scene?.nodes ?? []) this.gather(model, index, identity(), 0);
    if (!this.parts.length) throw new Error("nothing to draw");
    // What is seen through comes last.
    this.parts.sort((one, two) => one.blended - two.blended);
    this.middle = this.low.map((low, axis) => (low + this.high[axis]) / 2);
    this.radius = Math.hypot(...this.low.map((low, axis) => (this.high[axis] - low) / 2)) || 1;
  }

  linked() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    ["position", "normal", "spot"].forEach((name, at) => gl.bindAttribLocation(program, at, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    return program;
  }

  texture(bitmap, declared, gltf) {
    const gl = this.gl, texture = gl.createTexture(), sampler = gltf.samplers?.[declared.sampler] ?? {};
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, sampler.wrapS ?? gl.REPEAT);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, sampler.wrapT ?? gl.REPEAT);
    return texture;
  }

  gather(model, index, above, depth) {
    if (depth > DEEPEST || ++this.nodes > MOST_NODES) throw new Error("too many nodes");
    const node = model.gltf.nodes[index], place = times(above, local(node));
    if (node.mesh !== undefined) {
      if (!this.meshes.has(node.mesh)) {
        const drawn = model.gltf.meshes[node.mesh].primitives.filter((primitive) => (primitive.mode ?? 4) === 4);
        this.meshes.set(node.mesh, drawn.map((primitive) => this.part(model, primitive)));
      }
      for (const part of this.meshes.get(node.mesh)) this.show(part, place);
    }
    for (const child of node.children ?? []) this.gather(model, child, place, depth + 1);
  }

  spend(corners) {
    this.corners += corners;
    if (this.corners > MOST_CORNERS) throw new Error("too many triangles");
  }

  show(part, place) {
    this.spend(part.count);
    if (this.parts.length >= MOST_PARTS) throw new Error("too many parts");
    this.parts.push({ ...part, place, mirrored: isMirrored(place) });
    for (const corner of part.box)
      point(place, corner).forEach((value, axis) => {
        this.low[axis] = Math.min(this.low[axis], value);
        this.high[axis] = Math.max(this.high[axis], value);
      });
  }

  part(model, primitive) {
    if (++this.read > MOST_PARTS) throw new Error("too many parts");
    this.spend(model.gltf.accessors[primitive.attributes.POSITION].count);
    const gl = this.gl, its = primitive.attributes, positions = floats(model, its.POSITION);
    let indices = primitive.indices === undefined ? null : Uint32Array.from(values(model, primitive.indices));
    let corners = positions, normals = its.NORMAL === undefined ? null : floats(model, its.NORMAL);
    let spots = its.TEXCOORD_0 === undefined ? null : floats(model, its.TEXCOORD_0);
    if (normals === null) {
      indices ??= Uint32Array.from({ length: positions.length / 3 }, (_, at) => at);
      if (spots !== null) spots = picked(spots, indices, 2);
      corners = picked(positions, indices, 3);
      normals = flat(corners);
      indices = null;
    }
    const vertices = gl.createVertexArray();
    gl.bindVertexArray(vertices);
    [[corners, 3], [normals, 3], [spots, 2]].forEach(([data, width], at) => {
      if (data === null) return;
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, width, gl.FLOAT, false, 0, 0);
    });
    if (indices !== null) {
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    }
    gl.bindVertexArray(null);
    const material = model.gltf.materials?.[primitive.material] ?? {}, base = material.pbrMetallicRoughness ?? {};
    return {
      vertices,
      box: boxed(corners),
      count: indices === null ? corners.length / 3 : indices.length,
      indexed: indices !== null,
      color: base.baseColorFactor ?? [1, 1, 1, 1], glow: material.emissiveFactor ?? [0, 0, 0],
      image: spots === null ? undefined : this.images.get(base.baseColorTexture?.index),
      blended: material.alphaMode === "BLEND",
      cutoff: material.alphaMode === "MASK" ? material.alphaCutoff ?? 0.5 : 0,
      bothSides: material.doubleSided === true,
    };
  }

  // From the model's space to the eye: the middle in front of it, turned, and far enough away to be seen whole.
  eye(away) {
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const turn = new Float32Array([cy, -sy * sp, sy * cp, 0, 0, cp, sp, 0, -sy, -cy * sp, cy * cp, 0, 0, 0, 0, 1]);
    const back = identity();
    back.set(this.middle.map((value) => -value), 12);
    const seen = times(turn, back);
    seen[14] -= away;
    return seen;
  }

  draw() {
    const gl = this.gl, canvas = this.canvas, ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
    if (!width || !height || gl.isContextLost()) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.useProgram(this.program);
    const away = (this.radius * 1.02 * this.distance) / Math.sin(FIELD / 2);
    const near = Math.max(away - this.radius * 1.5, away / 100), far = away + this.radius * 1.5;
    const scale = 1 / Math.tan(FIELD / 2), aspect = Math.min(width / height, 1), eye = this.eye(away);
    const [deep, moved] = [-(far + near) / (far - near), (-2 * far * near) / (far - near)];
    const lens = [scale * aspect * height / width, 0, 0, 0, 0, scale * aspect, 0, 0, 0, 0, deep, -1, 0, 0, moved, 0];
    gl.uniformMatrix4fv(this.names.seen, false, times(lens, eye));
    for (const part of this.parts) this.drawPart(part, eye);
  }

  drawPart(part, eye) {
    const gl = this.gl, names = this.names;
    gl.uniformMatrix4fv(names.place, false, part.place);
    gl.uniformMatrix3fv(names.turned, false, normalTurn(times(eye, part.place)));
    gl.uniform4fv(names.color, part.color);
    gl.uniform3fv(names.glow, part.glow);
    gl.uniform1f(names.cutoff, part.cutoff);
    gl.uniform1i(names.blended, part.blended);
    gl.uniform1i(names.textured, part.image !== undefined);
    gl.bindTexture(gl.TEXTURE_2D, part.image ?? null);
    gl.frontFace(part.mirrored ? gl.CW : gl.CCW);
    for (const [what, wanted] of [[gl.CULL_FACE, !part.bothSides], [gl.BLEND, part.blended]])
      wanted ? gl.enable(what) : gl.disable(what);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthMask(!part.blended);
    gl.bindVertexArray(part.vertices);
    if (part.indexed) gl.drawElements(gl.TRIANGLES, part.count, gl.UNSIGNED_INT, 0);
    else gl.drawArrays(gl.TRIANGLES, 0, part.count);
    gl.depthMask(true);
  }
}

// --- Turning it ---

function follow(viewer, canvas) {
  const fingers = new Map();
  let waits = false;
  let turnsAlone = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let before = 0;

  const redraw = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame((now) => {
      waits = false;
      if (turnsAlone && !document.hidden) viewer.yaw -= Math.min(now - before, 50) * 0.0004;
      before = now;
      viewer.draw();
      if (turnsAlone) redraw();
    });
  };
  const turn = (yaw, pitch) => {
    turnsAlone = false;
    viewer.yaw += yaw;
    viewer.pitch = Math.max(-1.5, Math.min(1.5, viewer.pitch + pitch));
    redraw();
  };
  const zoom = (factor) => {
    turnsAlone = false;
    viewer.distance = Math.max(0.35, Math.min(2.5, viewer.distance * factor));
    redraw();
  };
  const spread = ([one, two] = [...fingers.values()]) => Math.hypot(one.x - two.x, one.y - two.y);

  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const was = fingers.get(event.pointerId);
    if (!was) return;
    const apart = fingers.size === 2 ? spread() : 0;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (apart) zoom(apart / Math.max(spread(), 1));
    else turn(-(event.clientX - was.x) * 0.008, (event.clientY - was.y) * 0.008);
  });
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(event.deltaY * 0.001));
  }, { passive: false });
  const keys = {
    ArrowLeft: () => turn(0.15, 0), ArrowRight: () => turn(-0.15, 0), ArrowUp: () => turn(0, 0.15),
    ArrowDown: () => turn(0, -0.15), "+": () => zoom(0.9), "-": () => zoom(1.1),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  new ResizeObserver(redraw).observe(canvas);
  redraw();
}

async function begin(canvas) {
  const stage = canvas.parentElement, how = document.getElementById("how");
  const give = (shown) => {
    canvas.hidden = !shown;
    how.hidden = !shown;
    stage.classList.toggle("turning", shown);
    canvas.dataset.state = shown ? "shown" : "failed";
  };
  try {
    const viewer = new Viewer(canvas);
    await viewer.load(canvas.dataset.model);
    give(true);
    viewer.draw();
    canvas.addEventListener("webglcontextlost", () => give(false));
    follow(viewer, canvas);
  } catch (error) {
    // The picture is there instead; the reason is for whoever looks at the console.
    console.info(`The model is not shown in 3D: ${error.message}`);
    give(false);
  }
}

const canvas = document.getElementById("model");
if (canvas) begin(canvas);
