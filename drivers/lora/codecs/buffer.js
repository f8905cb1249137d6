// Node's Buffer, as far as published codecs use it. Only for codecs that name it, and after module.js.
globalThis.Buffer = ((Decoder) => class Buffer extends Uint8Array {
  constructor(value, at, length) {  // a text and its encoding, or as of a Uint8Array
    if (typeof value === "string") super(Buffer.#bytes(value, at));
    else super(value, at, length);
  }
  static from(value, at, length) {
    if (typeof value === "string" || value instanceof ArrayBuffer) return new Buffer(value, at, length);
    if (value === null || typeof value !== "object") Buffer.#refuse(value);
    return new Buffer(Array.from(value.type === "Buffer" ? value.data : value));
  }
  static #refuse(value) { throw new TypeError(`Buffer.from takes bytes or a text, not ${value}`); }
  static #kinds = {
    utf8: "utf8", "utf-8": "utf8", hex: "hex", base64: "base64", base64url: "base64url", ascii: "ascii", latin1: "latin1",
    binary: "latin1", ucs2: "utf16le", "ucs-2": "utf16le", utf16le: "utf16le", "utf-16le": "utf16le",
  };
  static #kind(encoding) {
    const kind = Buffer.#kinds[String(encoding || "utf8").toLowerCase()];
    if (!kind) throw new TypeError(`Unknown encoding: ${encoding}`);
    return kind;
  }
  static #bytes(text, encoding) {
    const codes = Array.from({ length: text.length }, (_, at) => text.charCodeAt(at));
    switch (Buffer.#kind(encoding)) {
      case "hex": return (text.match(/^(?:[0-9a-f]{2})*/i)[0].match(/../g) || []).map((two) => parseInt(two, 16));
      case "base64": case "base64url": return Buffer.#base64(text);
      case "ascii": case "latin1": return codes.map((code) => code & 255);
      case "utf16le": return codes.flatMap((code) => [code & 255, code >> 8]);
    }
    return Array.from(unescape(encodeURIComponent(text.toWellFormed())), (letter) => letter.charCodeAt(0));
  }
  static #base64(text) {
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const found = [];
    let bits = 0, count = 0;
    for (const letter of text.replace(/-/g, "+").replace(/_/g, "/").replace(/[^A-Za-z0-9+/]/g, "")) {
      bits = ((bits << 6) | letters.indexOf(letter)) & 0xffffff;
      count += 6;
      if (count >= 8) found.push((bits >> (count -= 8)) & 255);
    }
    return found;
  }
  static #some(value, encoding) { return typeof value === "string" ? Buffer.#bytes(value, encoding) : Array.from(value); }
  static alloc(size, fill = 0, encoding) { return new Buffer(size).fill(fill, encoding); }
  static allocUnsafe(size) { return new Buffer(size); }
  static isBuffer(value) { return value instanceof Buffer; }
  static isEncoding(encoding) { return Object.hasOwn(Buffer.#kinds, String(encoding).toLowerCase()); }
  static byteLength(value, encoding) { return typeof value === "string" ? Buffer.#bytes(value, encoding).length : value.byteLength; }
  static concat(parts, size) {
    const all = parts.flatMap((part) => Array.from(part)), whole = new Buffer(size === undefined ? all.length : size);
    whole.set(all.slice(0, whole.length));
    return whole;
  }
  static compare(one, other) {
    const at = one.findIndex((byte, place) => byte !== other[place]);
    return at < 0 ? Math.sign(one.length - other.length) : at >= other.length || one[at] > other[at] ? 1 : -1;
  }

  slice(start, end) { return this.subarray(start, end); }
  compare(other) { return Buffer.compare(this, other); }
  equals(other) { return Buffer.compare(this, other) === 0; }
  indexOf(value, from = 0, encoding) {
    if (typeof from === "string") [from, encoding] = [0, from];
    if (typeof value === "number") return super.indexOf(value & 255, from);
    const wanted = Buffer.#some(value, encoding);
    for (let at = from < 0 ? Math.max(this.length + from, 0) : from; at + wanted.length <= this.length; at++)
      if (wanted.every((byte, place) => byte === this[at + place])) return at;
    return -1;
  }
  includes(value, from, encoding) { return this.indexOf(value, from, encoding) >= 0; }
  fill(value, start = 0, end = this.length, encoding) {
    if (typeof start === "string") [start, encoding] = [0, start];
    if (typeof end === "string") [end, encoding] = [this.length, end];
    if (typeof value === "number") return super.fill(value, start, end);
    const bytes = Buffer.#some(value, encoding);
    for (let at = start; at < end; at++) this[at] = bytes.length ? bytes[(at - start) % bytes.length] : 0;
    return this;
  }
  copy(target, at = 0, start = 0, end = this.length) {
    const part = this.subarray(start, Math.min(end, start + target.length - at));
    target.set(part, at);
    return part.length;
  }
  write(text, at = 0, size = this.length, encoding) {
    if (typeof at === "string") [at, encoding] = [0, at];
    if (typeof size === "string") [size, encoding] = [this.length, size];
    const bytes = Buffer.#bytes(text, encoding).slice(0, Math.min(size, this.length - at));
    this.set(bytes, at);
    return bytes.length;
  }
  #swap(size) {
    if (this.length % size) throw new RangeError(`the length is no multiple of ${size}`);
    for (let at = 0; at < this.length; at += size) this.subarray(at, at + size).reverse();
    return this;
  }
  swap16() { return this.#swap(2); }
  swap32() { return this.#swap(4); }
  swap64() { return this.#swap(8); }
  toString(encoding, start = 0, end = this.length) {
    const part = this.subarray(start, end), bytes = Array.from(part);
    switch (Buffer.#kind(encoding)) {
      case "hex": return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
      case "base64": return Buffer.#toBase64(bytes);
      case "base64url": return Buffer.#toBase64(bytes).replace(/[+]/g, "-").replace(/[/]/g, "_").replace(/=+$/, "");
      case "ascii": return bytes.map((byte) => String.fromCharCode(byte & 127)).join("");
      case "latin1": return bytes.map((byte) => String.fromCharCode(byte)).join("");
      case "utf16le": return new Decoder("utf-16le", { ignoreBOM: true }).decode(part);
    }
    return new Decoder("utf-8", { ignoreBOM: true }).decode(part);
  }
  static #toBase64(bytes) {
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = "";
    for (let at = 0; at < bytes.length; at += 3) {
      const bits = (bytes[at] << 16) | ((bytes[at + 1] || 0) << 8) | (bytes[at + 2] || 0);
      for (let part = 0; part < 4; part++)
        text += at + part <= bytes.length ? letters[(bits >> (18 - 6 * part)) & 63] : "=";
    }
    return text;
  }
  toJSON() { return { type: "Buffer", data: Array.from(this) }; }

  #view(at, size) {
    if (at === undefined) at = 0;
    if (at < 0 || at + size > this.length) throw new RangeError(`bytes ${at} to ${at + size - 1} of ${this.length}`);
    return new DataView(this.buffer, this.byteOffset + at, size);
  }
  readUIntBE(at, size) { this.#view(at, size); let sum = 0; for (let i = 0; i < size; i++) sum = sum * 256 + this[at + i]; return sum; }
  readUIntLE(at, size) { this.#view(at, size); let sum = 0; for (let i = size; i--;) sum = sum * 256 + this[at + i]; return sum; }
  readIntBE(at, size) { const raw = this.readUIntBE(at, size), top = 256 ** size; return raw < top / 2 ? raw : raw - top; }
  readIntLE(at, size) { const raw = this.readUIntLE(at, size), top = 256 ** size; return raw < top / 2 ? raw : raw - top; }
  #holds(value, low, high) {
    if (value < low || value > high) throw new RangeError(`${value} is not between ${low} and ${high}`);
  }
  writeUIntBE(value, at, size) { this.#view(at, size); this.#holds(value, 0, 256 ** size - 1); for (let i = size; i--;) { this[at + i] = value & 255; value = Math.floor(value / 256); } return at + size; }
  writeUIntLE(value, at, size) { this.#view(at, size); this.#holds(value, 0, 256 ** size - 1); for (let i = 0; i < size; i++) { this[at + i] = value & 255; value = Math.floor(value / 256); } return at + size; }
  writeIntBE(value, at, size) { this.#holds(value, -(256 ** size) / 2, 256 ** size / 2 - 1); return this.writeUIntBE(value < 0 ? value + 256 ** size : value, at, size); }
  writeIntLE(value, at, size) { this.#holds(value, -(256 ** size) / 2, 256 ** size / 2 - 1); return this.writeUIntLE(value < 0 ? value + 256 ** size : value, at, size); }
  static {
    const kinds = [
      ["UInt8", "Uint8", 1], ["Int8", "Int8", 1], ["UInt16", "Uint16", 2], ["Int16", "Int16", 2], ["UInt32", "Uint32", 4],
      ["Int32", "Int32", 4], ["Float", "Float32", 4], ["Double", "Float64", 8], ["BigUInt64", "BigUint64", 8], ["BigInt64", "BigInt64", 8],
    ];
    const add = (name, method) => {
      const names = [name, name.replace("UInt", "Uint")];  // both spellings are Node's
      Object.defineProperty(method, "name", { value: name });  // worker.py looks past it for the line of a mistake
      for (const one of names) Object.defineProperty(Buffer.prototype, one, { value: method, configurable: true });
    };
    for (const [name, kind, size] of kinds) {
      const whole = size < 8 && kind.includes("nt"), half = 256 ** size / 2;
      const [low, high] = kind[0] === "I" ? [-half, half - 1] : [0, 2 * half - 1];
      for (const end of size === 1 ? [""] : ["BE", "LE"]) {
        add(`read${name}${end}`, function (at) { return this.#view(at, size)[`get${kind}`](0, end === "LE"); });
        add(`write${name}${end}`, function (value, at = 0) { if (whole) this.#holds(value, low, high); this.#view(at, size)[`set${kind}`](0, value, end === "LE"); return at + size; });
      }
    }
  }
})(TextDecoder);
