/**
 * What comes over the line: frames of an event stream, and cursors.
 *
 * A cursor is a place in one topic: `offset`, or `epoch.offset` where the history can be lost as a whole. The cursors
 * of several topics are written `topic@cursor,topic@cursor`.
 */

/** The topic of what is pushed to people, rather than said by a job. */
export const AUDIENCE = "audience";

const PULSES = new Set(["jobs", "sys-stats", "workers"]);

/**
 * The topic that a text means: one of the fixed ones, or a job's by its id, which may have `command:` in front, or be a
 * UUID with its hyphens.
 *
 * @param {string} text
 * @returns {string}
 * @throws {RangeError} when it can be neither; one wrong topic would cost the others of its stream
 */
export function topicOf(text) {
  if (text === AUDIENCE || PULSES.has(text)) return text;
  const bare = text.replace(/^(job|command):/, "");
  const id = /^\w{8}(-\w{4}){3}-\w{12}$/.test(bare) ? bare.replaceAll("-", "") : bare;
  if (!/^[a-z0-9-]{1,64}$/.test(id)) throw new RangeError(`${text} is neither a topic nor a job's id`);
  return `job:${id}`;
}

/**
 * @param {Iterable<[string, string]>} cursors topics and places in them; empty places are left out
 * @returns {string}
 */
export function formatCursors(cursors) {
  return Array.from(cursors, ([topic, cursor]) => (cursor === "" ? "" : `${topic}@${cursor}`))
    .filter(Boolean)
    .join(",");
}

/**
 * @param {string} text
 * @returns {Map<string, string>}
 */
export function parseCursors(text) {
  const pairs = text.split(",").filter((part) => part.includes("@"));
  return new Map(pairs.map((part) => /** @type {[string, string]} */ (part.split("@", 2))));
}

/**
 * The cursor of one event, from its offset and the epoch in the cursors that came with it.
 *
 * @param {string} type
 * @param {{topic: string, offset?: number | null}} event
 * @param {string} cursors
 * @returns {string} "" for what has no place
 */
export function placeOf(type, { topic, offset }, cursors) {
  const told = parseCursors(cursors).get(topic) ?? "";
  if (offset === undefined || offset === null) return type === "reset" ? told : "";
  return told.slice(0, told.lastIndexOf(".") + 1) + offset;
}

/**
 * Whether one place in a topic lies behind another. An unknown place (`""`) lies before all; in another epoch every
 * place counts as later, because what was before it is not known.
 *
 * @param {string} cursor
 * @param {string} other
 * @returns {boolean}
 */
export function isAfter(cursor, other) {
  if (cursor === "" || other === "") return cursor !== "";
  const [epoch, offset] = split(cursor);
  const [otherEpoch, otherOffset] = split(other);
  return epoch !== otherEpoch || offset > otherOffset;
}

/**
 * @param {string} cursor
 * @returns {[string, number]}
 */
function split(cursor) {
  const dot = cursor.lastIndexOf(".");
  return [cursor.slice(0, Math.max(0, dot)), Number(cursor.slice(dot + 1))];
}

/**
 * @typedef {object} Frame one event of a stream
 * @property {string} event
 * @property {string} id
 * @property {string} data
 */

/**
 * The frames of a `text/event-stream`, as they come. Comments and what is unknown are left out; what is cut off at the
 * end of the stream is dropped.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} heard is called for whatever comes, also for comments
 * @returns {AsyncGenerator<Frame, void, void>}
 */
export async function* frames(body, heard) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = /** @type {string} */ (blocks.pop());
      for (const block of blocks) {
        const frame = parseFrame(block);
        if (frame) yield frame;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * @param {string} block the lines of one event
 * @returns {Frame | null} null without data
 */
function parseFrame(block) {
  const frame = { event: "message", id: "", data: "" };
  /** @type {string[]} */
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon < 1) continue;
    const value = line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    const field = line.slice(0, colon);
    if (field === "data") data.push(value);
    else if (field === "event") frame.event = value;
    else if (field === "id") frame.id = value;
  }
  if (data.length === 0) return null;
  frame.data = data.join("\n");
  return frame;
}

/** The server asks to come again: nothing is wrong, and nobody has to know. */
export class Turn {
  /** @param {string} reason @param {number} retry milliseconds until then */
  constructor(reason, retry) {
    this.reason = reason;
    this.retry = retry;
  }

  toString() {
    return this.reason;
  }
}

/**
 * @param {{reason: string, retry?: number}} bye
 * @returns {unknown} why a stream ended
 */
export function parted({ reason, retry }) {
  return retry === undefined ? `the server said: ${reason}` : new Turn(reason, retry);
}
