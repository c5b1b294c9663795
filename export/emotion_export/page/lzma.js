// @ts-check
// Decompresses LZMA while it is downloaded: onnxruntime-web has 11.9 MB, with gzip 3.1 MB, with LZMA
// 1.9 MB. Browsers have no decoder for it. The format is that of "LZMA alone" files: Igor Pavlov,
// "LZMA specification", 2015. Written by lzma in Python (build.py), with the size in the header.

const HEADER_BYTES = 18; // properties, size, and the first five bytes of the range coder
const MAX_SYMBOL_BYTES = 20; // of input, that one literal or match takes
const SIGN = 0x80000000 | 0; // flipping it compares unsigned numbers as signed ones

// Where the probabilities of each kind of decision start in the table.
const IS_MATCH = 0;
const IS_REPEATED = 192;
const IS_NEWEST = 204;
const IS_SECOND = 216;
const IS_THIRD = 228;
const IS_LONG = 240;
const DISTANCE_SLOT = 432;
const DISTANCE = 688;
const ALIGNMENT = 816;
const LENGTH = 832;
const REPEATED_LENGTH = 1346;
const LITERAL = 1860;
const EVEN = 1024; // a probability of one half, of 2048

const DAMAGED = "The file is damaged.";

export class LzmaDecoder {
  /** @param {number} limit Largest number of bytes of the decoded file. */
  constructor(limit) {
    this._limit = limit;
    this._input = new Uint8Array(0);
    /** @type {Uint8Array<ArrayBuffer> | undefined} */
    this._output = undefined; // until the header is read
    // Range, code, and position in the input. In an array, because V8 would box them elsewhere.
    this._coder = new Int32Array(3);
    this._state = 0;
    this._distances = [0, 0, 0, 0]; // the last four, newest first, less 1
    this._length = 0; // of the output so far
    // From the header.
    this._literalBits = this._literalMask = this._positionMask = 0;
    this._table = new Uint16Array(0); // probabilities
  }

  /**
   * Decode the next bytes of the file.
   *
   * @param {Uint8Array} chunk
   * @throws {Error} The file is damaged or too large.
   */
  push(chunk) {
    this._append(chunk);
    if (!this._output) {
      if (this._input.length < HEADER_BYTES) return;
      this._readHeader();
    }
    this._decode(this._input.length - MAX_SYMBOL_BYTES);
  }

  /**
   * Return the decoded file.
   *
   * @returns {Uint8Array<ArrayBuffer>}
   * @throws {Error} The file is damaged or cut off.
   */
  finish() {
    if (!this._output) throw new Error(DAMAGED);
    const end = this._input.length - this._coder[2];
    this._append(new Uint8Array(MAX_SYMBOL_BYTES)); // so that reading past the end gives zeros
    this._decode(end);
    if (this._length < this._output.length || this._coder[2] > end) throw new Error(DAMAGED);
    return this._output;
  }

  /** @param {Uint8Array} chunk */
  _append(chunk) {
    const rest = this._input.subarray(this._coder[2]);
    const joined = new Uint8Array(rest.length + chunk.length);
    joined.set(rest);
    joined.set(chunk, rest.length);
    this._input = joined;
    this._coder[2] = 0;
  }

  _readHeader() {
    const view = new DataView(this._input.buffer);
    const properties = view.getUint8(0);
    const size = Number(view.getBigUint64(5, true));
    if (properties >= 225 || size > this._limit || view.getUint8(13) !== 0) throw new Error(DAMAGED);
    this._literalBits = properties % 9;
    this._literalMask = (1 << (Math.floor(properties / 9) % 5)) - 1;
    this._positionMask = (1 << Math.floor(properties / 45)) - 1;
    const literals = 0x300 * (this._literalMask + 1) * 2 ** this._literalBits;
    this._table = new Uint16Array(LITERAL + literals).fill(EVEN);
    this._output = new Uint8Array(size);
    this._coder.set([-1, view.getInt32(14), HEADER_BYTES]);
  }

  /**
   * Decode literals and matches.
   *
   * @param {number} end Position in the input behind which none starts.
   */
  _decode(end) {
    const { _coder: coder, _output: output = new Uint8Array(0), _literalBits: literalBits } = this;
    let { _state: state, _length: length } = this;
    let [d0, d1, d2, d3] = this._distances;
    while (length < output.length && coder[2] <= end) {
      const position = length & this._positionMask;
      if (!this._decodeBit(IS_MATCH + (state << 4) + position)) {
        const before = length > 0 ? output[length - 1] : 0;
        const context = ((length & this._literalMask) << literalBits) + (before >> (8 - literalBits));
        const base = LITERAL + 0x300 * context;
        output[length] =
          state < 7
            ? this._decodeTree(base, 8)
            : this._decodeLiteral(base, output[length - d0 - 1]);
        length++;
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }
      let count;
      if (this._decodeBit(IS_REPEATED + state)) {
        count = 0;
        if (!this._decodeBit(IS_NEWEST + state)) {
          if (!this._decodeBit(IS_LONG + (state << 4) + position)) count = 1;
        } else if (!this._decodeBit(IS_SECOND + state)) {
          [d0, d1] = [d1, d0];
        } else if (!this._decodeBit(IS_THIRD + state)) {
          [d0, d1, d2] = [d2, d0, d1];
        } else {
          [d0, d1, d2, d3] = [d3, d0, d1, d2];
        }
        if (count === 1) {
          state = state < 7 ? 9 : 11;
        } else {
          count = 2 + this._decodeLength(REPEATED_LENGTH, position);
          state = state < 7 ? 8 : 11;
        }
      } else {
        [d1, d2, d3] = [d0, d1, d2];
        count = 2 + this._decodeLength(LENGTH, position);
        state = state < 7 ? 7 : 10;
        d0 = this._decodeDistance(Math.min(count - 2, 3));
      }
      if (d0 >= length) throw new Error(DAMAGED);
      const stop = Math.min(output.length, length + count);
      for (let from = length - d0 - 1; length < stop; ) output[length++] = output[from++];
    }
    this._state = state;
    this._length = length;
    this._distances = [d0, d1, d2, d3];
  }

  /** @param {number} index Of the probability. */
  _decodeBit(index) {
    const { _coder: coder, _table: table } = this;
    const probability = table[index];
    const bound = Math.imul(coder[0] >>> 11, probability);
    const bit = (coder[1] ^ SIGN) < (bound ^ SIGN) ? 0 : 1;
    if (bit === 0) {
      coder[0] = bound;
      table[index] = probability + ((2048 - probability) >> 5);
    } else {
      coder[0] -= bound;
      coder[1] -= bound;
      table[index] = probability - (probability >> 5);
    }
    if ((coder[0] & 0xff000000) === 0) {
      coder[0] <<= 8;
      coder[1] = (coder[1] << 8) | this._input[coder[2]++];
    }
    return bit;
  }

  // The next two take most of the time, so that they repeat _decodeBit on local variables.

  /**
   * Decode a number, the highest bit first.
   *
   * @param {number} base Of the probabilities in the table.
   * @param {number} bits
   */
  _decodeTree(base, bits) {
    const { _coder: coder, _table: table, _input: input } = this;
    let [range, code, position] = coder;
    const end = 1 << bits;
    let node = 1;
    while (node < end) {
      const probability = table[base + node];
      const bound = Math.imul(range >>> 11, probability);
      if ((code ^ SIGN) < (bound ^ SIGN)) {
        range = bound;
        table[base + node] = probability + ((2048 - probability) >> 5);
        node <<= 1;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        table[base + node] = probability - (probability >> 5);
        node = (node << 1) | 1;
      }
      if ((range & 0xff000000) === 0) {
        range <<= 8;
        code = (code << 8) | input[position++];
      }
    }
    coder[0] = range;
    coder[1] = code;
    coder[2] = position;
    return node - end;
  }

  /**
   * Decode a byte after a match: its bits are guessed from the byte that would continue the match.
   *
   * @param {number} base Of the probabilities in the table.
   * @param {number} guess
   */
  _decodeLiteral(base, guess) {
    const { _coder: coder, _table: table, _input: input } = this;
    let [range, code, position] = coder;
    let node = 1;
    let offset = 0x100; // 0 after the first bit that differs
    while (node < 0x100) {
      guess <<= 1;
      const guessed = guess & offset;
      const index = base + offset + guessed + node;
      const probability = table[index];
      const bound = Math.imul(range >>> 11, probability);
      if ((code ^ SIGN) < (bound ^ SIGN)) {
        range = bound;
        table[index] = probability + ((2048 - probability) >> 5);
        node <<= 1;
        offset &= ~guessed;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        table[index] = probability - (probability >> 5);
        node = (node << 1) | 1;
        offset &= guessed;
      }
      if ((range & 0xff000000) === 0) {
        range <<= 8;
        code = (code << 8) | input[position++];
      }
    }
    coder[0] = range;
    coder[1] = code;
    coder[2] = position;
    return node & 0xff;
  }

  /**
   * Decode a number, the lowest bit first.
   *
   * @param {number} base Of the probabilities in the table.
   * @param {number} bits
   */
  _decodeReversed(base, bits) {
    let [node, value] = [1, 0];
    for (let i = 0; i < bits; i++) {
      const bit = this._decodeBit(base + node);
      node = (node << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  /**
   * @param {number} base Of the probabilities in the table.
   * @param {number} position
   */
  _decodeLength(base, position) {
    if (!this._decodeBit(base)) return this._decodeTree(base + 2 + (position << 3), 3);
    if (!this._decodeBit(base + 1)) return 8 + this._decodeTree(base + 130 + (position << 3), 3);
    return 16 + this._decodeTree(base + 258, 8);
  }

  /**
   * Decode a distance, less 1.
   *
   * @param {number} lengthClass
   */
  _decodeDistance(lengthClass) {
    const slot = this._decodeTree(DISTANCE_SLOT + (lengthClass << 6), 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const high = (2 | (slot & 1)) * 2 ** bits;
    if (slot < 14) return high + this._decodeReversed(DISTANCE + high - slot, bits);
    let middle = 0;
    for (let i = bits; i > 4; i--) middle = 2 * middle + this._decodeEvenBit();
    return high + 16 * middle + this._decodeReversed(ALIGNMENT, 4);
  }

  /** Decode a bit with a fixed probability of one half. */
  _decodeEvenBit() {
    const { _coder: coder } = this;
    coder[0] >>>= 1;
    const bit = (coder[1] ^ SIGN) < (coder[0] ^ SIGN) ? 0 : 1;
    if (bit === 1) coder[1] -= coder[0];
    if ((coder[0] & 0xff000000) === 0) {
      coder[0] <<= 8;
      coder[1] = (coder[1] << 8) | this._input[coder[2]++];
    }
    return bit;
  }
}
