// Node's Buffer, as far as published codecs use it. Only for codecs that name it.
globalThis.Buffer = class Buffer extends Uint8Array {
  static from(value, encoding) {
    if (typeof value !== "string") return new Buffer(value instanceof ArrayBuffer ? value : Array.from(value));
    if (encoding === "hex") return new Buffer((value.match(/[0-9a-fA-F]{2}/g) || []).map((two) => parseInt(two, 16)));
    if (encoding === "base64") return Buffer.#base64(value);
    if (encoding === "ascii" || encoding === "latin1" || encoding === "binary")
      return new Buffer(Array.from(value, (letter) => letter.charCodeAt(0) & 255));
    const text = unescape(encodeURIComponent(value));
    return new Buffer(Array.from(text, (letter) => letter.charCodeAt(0)));
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
    return new Buffer(found);
  }
  static alloc(size, fill) { return new Buffer(size).fill(fill || 0); }
  static allocUnsafe(size) { return new Buffer(size); }
  static isBuffer(value) { return value instanceof Buffer; }
  static byteLength(value, encoding) { return Buffer.from(value, encoding).length; }
  static concat(parts) { return new Buffer(parts.reduce((all, part) => all.concat(Array.from(part)), [])); }

  slice(start, end) { return this.subarray(start, end); }
  equals(other) { return this.length === other.length && this.every((byte, at) => byte === other[at]); }
  copy(target, at = 0, start = 0, end = this.length) {
    const part = this.subarray(start, Math.min(end, start + target.length - at));
    target.set(part, at);
    return part.length;
  }
  write(text, at = 0) {
    const bytes = Buffer.from(text).subarray(0, this.length - at);
    this.set(bytes, at);
    return bytes.length;
  }
  toString(encoding = "utf8", start = 0, end = this.length) {
    const bytes = Array.from(this.subarray(start, end));
    if (encoding === "hex") return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (encoding === "base64") return Buffer.#toBase64(bytes);
    if (encoding === "ascii") return String.fromCharCode(...bytes.map((byte) => byte & 127));
    const text = String.fromCharCode(...bytes);
    if (encoding === "latin1" || encoding === "binary") return text;
    try { return decodeURIComponent(escape(text)); } catch (error) { return text; }
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
  writeUIntBE(value, at, size) { this.#view(at, size); for (let i = size; i--;) { this[at + i] = value & 255; value = Math.floor(value / 256); } return at + size; }
  writeUIntLE(value, at, size) { this.#view(at, size); for (let i = 0; i < size; i++) { this[at + i] = value & 255; value = Math.floor(value / 256); } return at + size; }
  writeIntBE(value, at, size) { return this.writeUIntBE(value < 0 ? value + 256 ** size : value, at, size); }
  writeIntLE(value, at, size) { return this.writeUIntLE(value < 0 ? value + 256 ** size : value, at, size); }
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
    for (const [name, kind, size] of kinds)
      for (const end of size === 1 ? [""] : ["BE", "LE"]) {
        add(`read${name}${end}`, function (at) { return this.#view(at, size)[`get${kind}`](0, end === "LE"); });
        add(`write${name}${end}`, function (value, at = 0) { this.#view(at, size)[`set${kind}`](0, value, end === "LE"); return at + size; });
      }
  }
};
