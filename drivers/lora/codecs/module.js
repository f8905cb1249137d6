// What published codecs take from Node and from a browser, beside Buffer (buffer.js): each is there as a plain global,
// so that a codec which declares one itself has its own.
globalThis.global = globalThis.self = globalThis;
globalThis.module = { exports: {} };
globalThis.exports = module.exports;

globalThis.TextEncoder = class TextEncoder {
  get encoding() { return "utf-8"; }
  encode(text = "") {
    const bytes = unescape(encodeURIComponent(String(text).toWellFormed()));
    return Uint8Array.from(bytes, (letter) => letter.charCodeAt(0));
  }
};

globalThis.TextDecoder = class TextDecoder {
  #fatal; #keep; #kind;
  static #kinds = {
    "utf-8": "utf-8", utf8: "utf-8", ascii: "latin1", "us-ascii": "latin1", latin1: "latin1", "iso-8859-1": "latin1",
    "windows-1252": "latin1", "utf-16le": "utf-16le", "utf-16": "utf-16le", "utf-16be": "utf-16be",
  };
  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    this.#kind = TextDecoder.#kinds[String(label).trim().toLowerCase()];
    if (!this.#kind) throw new RangeError(`TextDecoder does not know ${label}`);
    this.#fatal = fatal;
    this.#keep = ignoreBOM;
  }
  get encoding() { return this.#kind; }
  get fatal() { return this.#fatal; }
  get ignoreBOM() { return this.#keep; }
  decode(given = []) {
    const bytes = given instanceof ArrayBuffer ? new Uint8Array(given)
      : ArrayBuffer.isView(given) ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength) : Array.from(given);
    const text = this.#kind === "utf-8" ? this.#utf8(bytes) : this.#units(bytes);
    return !this.#keep && text.startsWith("\ufeff") ? text.slice(1) : text;
  }
  #units(bytes) {
    const width = this.#kind === "latin1" ? 1 : 2, high = this.#kind === "utf-16be" ? 0 : 1;
    let text = "";
    for (let at = 0; at + width <= bytes.length; at += width)
      text += String.fromCharCode(width === 1 ? bytes[at] : (bytes[at + high] << 8) | bytes[at + 1 - high]);
    return text.toWellFormed();
  }
  #utf8(bytes) {
    let text = "", at = 0;
    while (at < bytes.length) {
      const more = TextDecoder.#more(bytes, at);
      if (more === null) {
        if (this.#fatal) throw new TypeError(`byte ${at} is not UTF-8`);
        text += "\ufffd";
        at += 1;
        continue;
      }
      let code = more === 0 ? bytes[at] : bytes[at] & (0x3f >> more);
      for (let next = 1; next <= more; next++) code = (code << 6) | (bytes[at + next] & 0x3f);
      text += String.fromCodePoint(code);
      at += 1 + more;
    }
    return text;
  }
  static #more(bytes, at) {  // how many bytes follow the one here; null where they are no letter
    const first = bytes[at], second = bytes[at + 1];
    if (first < 0x80) return 0;
    const more = first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : null;
    for (let next = 1; next <= more; next++) if ((bytes[at + next] & 0xc0) !== 0x80) return null;
    const low = { 0xe0: 0xa0, 0xf0: 0x90 }[first], high = { 0xed: 0x9f, 0xf4: 0x8f }[first];
    return more === null || second < low || second > high ? null : more;
  }
};

globalThis.require = function require(name) {
  const known = String(name).replace(/^node:/, "").replace(/\/$/, "");
  if (known === "buffer" || known === "safe-buffer") return { Buffer: globalThis.Buffer, atob, btoa };
  if (known === "util") return { TextDecoder: globalThis.TextDecoder, TextEncoder: globalThis.TextEncoder };
  const nodes = "assert child_process cluster crypto dns events fs http https net os path process querystring stream string_decoder"
    + " timers tls url vm worker_threads zlib";
  throw new Error(`require("${name}"): ` + (nodes.split(" ").includes(known.split("/")[0])
    ? `of Node's own modules only "buffer" and "util" are there; bundle the codec with a library in the place of this one`
    : `a codec is one file, and only "buffer" and "util" are there; bundle it (esbuild, webpack)`));
};
