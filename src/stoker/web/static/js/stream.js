/**
 * One stream from the bridge that carries many topics, each with a cursor, and never gives up.
 *
 * It is an event stream (SSE); where something on the way holds that back, it asks again and again instead (long-poll).
 * After every break it goes on behind the last event of each topic, so nothing is lost and, for whoever compares
 * cursors, nothing comes twice.
 */

import { Pause, jitter } from "./common.js";
import { StokerError } from "./rest.js";
import { Turn, formatCursors, frames, isAfter, parseCursors, parted, placeOf } from "./wire.js";

/** @typedef {import("./types").ServerEvent} ServerEvent */
/** @typedef {import("./types").State} State */
/** @typedef {import("./rest.js").Http} Http */

/** Milliseconds; without a word for so long, something on the way is holding the stream back. */
const HELLO_WITHIN = 3_000;
/** Seconds that the bridge may keep a question that it has no news for. */
const POLL_WAIT = 15;
/** Milliseconds of polling before a stream is tried again, for it may have been a slow server; doubles each time. */
const POLL_FOR = 10_000;
const POLL_FOR_MOST = 600_000;
/** A stream that misses so many signs of life is dead. */
const SILENT_TICKS = 2.5;
/** So many topics are told in the address of a request; the others once the stream stands. */
const IN_URL = 40;
/** The part of a credential's life after which a new one is asked for. */
const RENEW_AT = 0.8;

const ANEW = "the topics have changed";
const BUFFERED = "no word from the server: a proxy may be buffering";
const SILENCE = "silence";
const STOPPED = "stopped";

/**
 * @typedef {object} Parts
 * @property {Http} http
 * @property {string} instance who this stream is for the server
 * @property {() => string[]} tabs the tabs behind it
 * @property {(event: ServerEvent) => void} deliver is given every event, in order
 * @property {(state: State, why: string) => void} state is told how it goes
 * @property {import("./common.js").Log} log
 */

export class Stream {
  /** @type {Map<string, string>} what is wanted, each with the cursor of its last event; "" is from now on */
  #topics = new Map();
  /** @type {Connection | null} */
  #connection = null;
  #pause = new Pause();
  #stopped = false;
  #pollUntil = 0;
  #pollFor = POLL_FOR;
  #renewal = 0;

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
  }

  #parts;

  /** Connect, and stay connected until {@link stop}. */
  async start() {
    let failures = 0;
    while (!this.#stopped) {
      const connection = (this.#connection = new Connection(this.#parts, this.#topics, (event) => this.#take(event)));
      const polling = Date.now() < this.#pollUntil;
      const why = await (polling ? connection.poll(this.#pollUntil) : connection.listen()).catch((error) => error);
      connection.end(why);
      if (connection.greeted) failures = 0;
      if (why === ANEW || this.#stopped) continue;
      if (why === BUFFERED) this.#pollInstead();
      else if (!(why instanceof Turn)) this.#tell(why);
      const delay = why === BUFFERED ? 0 : why instanceof Turn ? why.retry : jitter(failures++);
      this.#parts.log(`connection ended: ${why}`, { againInMs: Math.round(delay) });
      await this.#pause.wait(delay);
    }
    clearTimeout(this.#renewal);
  }

  /** End it for good. */
  stop() {
    this.#stopped = true;
    this.#connection?.end(STOPPED);
    this.#pause.end();
  }

  /** A moment when the line may be back, or may have died unnoticed: do not wait any longer. */
  wake() {
    this.#pause.end();
    this.#connection?.check();
  }

  /**
   * Carry a topic from behind a cursor. For a place before the present one the server has to tell again from there:
   * that is a new connection, and no event of the old one is delivered after this call.
   *
   * @param {string} topic
   * @param {string} after "" for wherever it is
   */
  want(topic, after) {
    const at = this.#topics.get(topic);
    if (at !== undefined && (after === "" || (at !== "" && !isAfter(at, after)))) return;
    this.#topics.set(topic, after);
    if (at === undefined && this.#connection?.takes(topic)) this.#connection.tell();
    else this.#connection?.end(ANEW);
  }

  /** @param {string} topic */
  drop(topic) {
    if (this.#topics.delete(topic)) this.#connection?.tell();
  }

  /** The tabs behind this stream are others now. */
  tabsChanged() {
    this.#connection?.tell();
  }

  /** @returns {Map<string, string>} what it carries, and how far that has come */
  get cursors() {
    return new Map(this.#topics);
  }

  /** @param {ServerEvent} event */
  #take(event) {
    if (event.type === "hello") this.#greet(event);
    else if (event.type === "end") this.#topics.delete(event.topic);
    else if (event.cursor && this.#topics.has(event.topic)) this.#topics.set(event.topic, event.cursor);
    this.#parts.deliver(event);
  }

  /** @param {import("./types").Hello} hello */
  #greet(hello) {
    for (const [topic, cursor] of hello.cursors) {
      if (this.#topics.get(topic) === "") this.#topics.set(topic, cursor);
    }
    if (!hello.polled) this.#pollFor = POLL_FOR;
    if (hello.expires) this.#renewIn(hello.expires);
    this.#parts.state(hello.polled ? "polling" : "live", "");
  }

  /** @param {number} seconds that the credential is still good for */
  #renewIn(seconds) {
    clearTimeout(this.#renewal);
    const renew = () => this.#parts.http.renew().then((next) => next && this.#renewIn(next), () => {});
    this.#renewal = setTimeout(renew, seconds * RENEW_AT * 1000);
  }

  #pollInstead() {
    this.#pollUntil = Date.now() + this.#pollFor;
    this.#pollFor = Math.min(2 * this.#pollFor, POLL_FOR_MOST);
  }

  /** @param {unknown} why */
  #tell(why) {
    const refused = why instanceof StokerError && (why.status === 401 || why.status === 403);
    this.#parts.state(refused ? "unauthorized" : "offline", String(why));
  }
}

/** One try: from the request until the line breaks, in whatever way. */
class Connection {
  greeted = false;
  #control = new AbortController();
  /** @type {Set<string>} what the server was told to send */
  #carried = new Set();
  /** @type {Set<string>} what it was told to send no more, of which some may still be on its way */
  #dropped = new Set();
  /** @type {Set<string>} the tabs that it knows of */
  #attached = new Set();
  #telling = false;
  #polled = false;
  #id = "";
  #tick = 10;
  #heard = Date.now();

  /**
   * @param {Parts} parts
   * @param {Map<string, string>} topics what is wanted, kept up to date by the owner
   * @param {(event: ServerEvent) => void} take
   */
  constructor({ http, instance, tabs, log }, topics, take) {
    this.#http = http;
    this.#instance = instance;
    this.#tabs = tabs;
    this.#log = log;
    this.#topics = topics;
    this.#take = take;
  }

  #http;
  #instance;
  #tabs;
  #log;
  #topics;
  #take;

  /**
   * Break it off. Nothing is delivered from here on, also of what has already come.
   *
   * @param {unknown} why
   */
  end(why) {
    this.#control.abort(why);
  }

  /** End it if the other side has been silent for too long. */
  check() {
    if (this.greeted && !this.#polled && Date.now() - this.#heard > SILENT_TICKS * this.#tick * 1000) this.end(SILENCE);
  }

  /**
   * Whether one more topic can be added while it stands. One that was dropped cannot: what is still on its way from
   * before could not be told from what comes after.
   *
   * @param {string} topic
   */
  takes(topic) {
    return !this.#polled && !this.#dropped.has(topic);
  }

  /**
   * An event stream, until it ends.
   *
   * @returns {Promise<unknown>} why it ended
   */
  async listen() {
    const late = setTimeout(() => this.end(BUFFERED), HELLO_WITHIN);
    const watch = setInterval(() => this.check(), 1000);
    try {
      const { body } = await this.#http.open("GET", `events?${this.#query()}`, undefined, this.#control.signal);
      for await (const frame of frames(/** @type {any} */ (body), () => (this.#heard = Date.now()))) {
        if (this.#control.signal.aborted) break;
        if (frame.event === "hello") clearTimeout(late);
        if (frame.event === "bye") return parted(JSON.parse(frame.data));
        this.#hear(frame.event, frame.id, JSON.parse(frame.data));
      }
      return this.#control.signal.reason ?? "the server closed it";
    } finally {
      clearTimeout(late);
      clearInterval(watch);
    }
  }

  /**
   * The same by asking again and again.
   *
   * @param {number} until when a stream may be tried again
   * @returns {Promise<unknown>} why it ended
   */
  async poll(until) {
    this.#polled = true;
    while (Date.now() < until) {
      const late = setTimeout(() => this.end(SILENCE), 2 * POLL_WAIT * 1000);
      const path = `poll?${this.#query()}&wait=${this.greeted ? POLL_WAIT : 0}`;
      const answer = this.#http.request("GET", path, undefined, this.#control.signal);
      const { events, cursor, ...hello } = await answer.finally(() => clearTimeout(late));
      if (!this.greeted) this.#hear("hello", cursor, { ...hello, polled: true });
      for (const event of events) {
        if (this.#control.signal.aborted) return this.#control.signal.reason;
        this.#hear(event.type ?? "message", cursor, event);
      }
    }
    return ANEW;
  }

  /** Let the server know what has changed: topics and tabs. Does nothing while there is no stream yet. */
  async tell() {
    if (this.#polled) return this.end(ANEW);
    if (this.#telling || this.#id === "") return;
    this.#telling = true;
    try {
      for (let change = this.#change(); change !== null; change = this.#change()) {
        const told = this.#http.request("POST", `events/${this.#id}`, change, this.#control.signal);
        await told.catch((error) => this.#refuse(change.subscribe, error));
      }
    } catch (error) {
      this.end(error); // what the server knows now is uncertain; a new connection says it all
    } finally {
      this.#telling = false;
    }
  }

  /**
   * What is refused for what it is, too many topics say, would be refused again; the others go on without it.
   *
   * @param {{topic: string}[]} topics
   * @param {unknown} error
   */
  #refuse(topics, error) {
    if (!(error instanceof StokerError) || error.status !== 422) throw error;
    for (const { topic } of topics) this.#hear("end", "", { topic, reason: error.message });
  }

  /** What the server does not know yet; from here on it counts as told. */
  #change() {
    const tabs = this.#tabs();
    const subscribe = [...this.#topics.keys()].filter((topic) => !this.#carried.has(topic));
    const unsubscribe = [...this.#carried].filter((topic) => !this.#topics.has(topic));
    const attach = tabs.filter((tab) => !this.#attached.has(tab));
    const detach = [...this.#attached].filter((tab) => !tabs.includes(tab));
    for (const topic of subscribe) this.#carried.add(topic);
    for (const topic of unsubscribe) this.#carried.delete(topic), this.#dropped.add(topic);
    this.#attached = new Set(tabs);
    if (!subscribe.length && !unsubscribe.length && !attach.length && !detach.length) return null;
    this.#log("changing the stream", { subscribe, unsubscribe, attach, detach });
    const wishes = subscribe.map((topic) => ({ topic, after: this.#topics.get(topic) || undefined }));
    return { subscribe: wishes, unsubscribe, attach, detach };
  }

  /** The query of a request that asks for everything that is wanted. */
  #query() {
    const topics = this.#polled ? [...this.#topics] : [...this.#topics].slice(0, IN_URL);
    for (const [topic] of topics) this.#carried.add(topic);
    this.#attached = new Set(this.#tabs());
    return new URLSearchParams({
      instance: this.#instance,
      tabs: [...this.#attached].join(","),
      topics: topics.map(([topic]) => topic).join(","),
      after: formatCursors(topics),
    });
  }

  /**
   * @param {string} type
   * @param {string} cursors
   * @param {any} data
   */
  #hear(type, cursors, data) {
    if (type === "end") this.#carried.delete(data.topic);
    if (type !== "hello") return this.#take({ ...data, type, cursor: placeOf(type, data, cursors) });
    this.#id = data.stream;
    this.#tick = data.tick ?? this.#tick;
    this.greeted = true;
    this.#log("connected", data);
    this.#take({ polled: false, ...data, type, cursors: parseCursors(cursors) });
    if (!this.#polled) this.tell();
  }
}
