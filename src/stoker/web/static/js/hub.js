/**
 * Where the streams of all tabs come together: one hub holds the one stream, knows what each tab wants, and hands out
 * what comes. It lives in the shared worker, in the leading tab, or in the only tab there is.
 */

import { Stream } from "./stream.js";
import { AUDIENCE } from "./wire.js";

/** @typedef {import("./types").ToHub} ToHub */
/** @typedef {import("./types").ToTab} ToTab */

/** Milliseconds; browsers let a hidden tab run once a minute, so a tab is given up only after two missed turns. */
const ALIVE_WITHIN = 150_000;
const LOOK_EVERY = 30_000;

/**
 * @typedef {object} Tab
 * @property {Set<string>} topics
 * @property {boolean} visible
 * @property {boolean} locked its end is told by its lock
 * @property {number} seen when it was last heard of
 */

export class Hub {
  /** @type {Map<string, Tab>} in the order they came */
  #tabs = new Map();
  /** @type {{state: import("./types").State, why: string}} */
  #state = { state: "connecting", why: "" };
  /** @type {string | undefined} */
  #user;
  #started = false;
  #closed = new AbortController();
  #watch;
  #stream;

  /**
   * @param {object} parts
   * @param {import("./rest.js").Http} parts.http
   * @param {string} parts.instance who the stream is for the server
   * @param {(message: ToTab, tabs: string[]) => void} parts.send one message, to these tabs
   * @param {(tab: string) => void} [parts.gone] is told of each tab that is no more
   * @param {number} parts.gather milliseconds from the first wish to the first request, for the wishes of other tabs
   * @param {import("./common.js").Log} parts.log
   */
  constructor({ http, instance, send, gone, gather, log }) {
    this.#http = http;
    this.#http.renewed = (token) => this.#send({ type: "token", token }, this.#everybody);
    this.#instance = instance;
    this.#send = send;
    this.#gone = gone;
    this.#gather = gather;
    this.#log = log;
    this.#stream = this.#newStream();
    this.#watch = setInterval(() => this.#look(), LOOK_EVERY);
  }

  #http;
  #instance;
  #send;
  #gone;
  #gather;
  #log;

  /** Hang up, and answer nobody any more. */
  close() {
    clearInterval(this.#watch);
    this.#closed.abort();
    this.#tabs.clear();
    this.#stream.stop();
  }

  /** @returns {string | undefined} a tab that somebody looks at */
  get visibleTab() {
    for (const [id, tab] of this.#tabs) if (tab.visible) return id;
    return undefined;
  }

  /** @returns {string | undefined} */
  get firstTab() {
    return this.#tabs.keys().next().value;
  }

  get #everybody() {
    return [...this.#tabs.keys()];
  }

  /** @param {ToHub} message */
  receive(message) {
    const tab = this.#tabs.get(message.tab);
    if (tab) tab.seen = Date.now();
    if (message.type === "want") this.#grant(message);
    else if (message.type === "bye") this.#forget(message.tab);
    else if (message.type === "wake") this.#stream.wake();
    else if (message.type === "signout") this.#signOut("signed out");
    else this.#send(tab ? { type: "alive" } : { type: "unknown" }, [message.tab]);
  }

  /** @param {Extract<ToHub, {type: "want"}>} wish */
  #grant({ tab: id, n, topics, from, visible, token, locked }) {
    if (token) this.#compare(token, id);
    const known = this.#tabs.has(id);
    this.#tabs.set(id, { topics: new Set(topics), visible, locked, seen: Date.now() });
    if (!known) this.#attach(id, locked);
    for (const [topic, after] of Object.entries(from)) this.#stream.want(topic, after);
    this.#dropUnwanted();
    const cursors = this.#stream.cursors;
    const places = Object.fromEntries(Object.keys(from).map((topic) => [topic, cursors.get(topic) ?? ""]));
    this.#send({ type: "granted", n, cursors: places }, [id]);
    this.#send({ type: "state", ...this.#state }, [id]);
    this.#connect();
  }

  /**
   * A page may come with a token that is older than the one that was renewed here.
   *
   * @param {string} token
   * @param {string} tab
   */
  #compare(token, tab) {
    if (this.#http.token === "" || this.#state.state === "unauthorized") this.#http.token = token;
    else if (token !== this.#http.token) this.#send({ type: "token", token: this.#http.token }, [tab]);
  }

  /** A new wish is a good moment: for the first try, or for the next one. */
  #connect() {
    if (this.#started) return this.#stream.wake();
    this.#started = true;
    const stream = this.#stream;
    setTimeout(() => stream.start(), this.#gather);
  }

  /**
   * @param {string} id
   * @param {boolean} locked
   */
  #attach(id, locked) {
    this.#log("tab came", { tab: id, tabs: this.#tabs.size });
    this.#stream.tabsChanged();
    if (!locked) return;
    const gone = navigator.locks.request(tabLock(id), { mode: "shared", signal: this.#closed.signal }, () =>
      this.#forget(id),
    );
    gone.catch(() => {}); // this hub was closed before that
  }

  /** @param {string} id */
  #forget(id) {
    if (!this.#tabs.delete(id)) return;
    this.#gone?.(id);
    this.#log("tab went", { tab: id, tabs: this.#tabs.size });
    if (this.#tabs.size === 0) return this.#hangUp();
    this.#stream.tabsChanged();
    this.#dropUnwanted();
  }

  /** Without locks a tab that dies does not say so; it is only not heard of any more. */
  #look() {
    const since = Date.now() - ALIVE_WITHIN;
    for (const [id, tab] of this.#tabs) if (!tab.locked && tab.seen < since) this.#forget(id);
  }

  #dropUnwanted() {
    const wanted = new Set([AUDIENCE]);
    for (const { topics } of this.#tabs.values()) for (const topic of topics) wanted.add(topic);
    for (const topic of this.#stream.cursors.keys()) if (!wanted.has(topic)) this.#stream.drop(topic);
  }

  #newStream() {
    const stream = new Stream({
      http: this.#http,
      instance: this.#instance,
      tabs: () => [...this.#tabs.keys()].filter((id) => id !== this.#instance),
      deliver: (event) => this.#deliver(event),
      state: (state, why) => this.#tell(state, why),
      log: this.#log,
    });
    stream.want(AUDIENCE, ""); // always, so that its cursor is known before the first event of it
    return stream;
  }

  /** @param {import("./types").ServerEvent} event */
  #deliver(event) {
    if (event.type === "hello") return this.#greet(event);
    const to = event.type === "message" ? event.to?.instance : undefined;
    if (to && this.#tabs.has(to)) return this.#send(event, [to]);
    const tabs = [...this.#tabs].filter(([, tab]) => tab.topics.has(event.topic));
    if (event.type === "end") for (const [, tab] of tabs) tab.topics.delete(event.topic);
    this.#send(event, tabs.map(([id]) => id));
  }

  /** @param {import("./types").Hello} hello */
  #greet({ user }) {
    if (user !== undefined && user !== (this.#user ?? user)) this.#stopTabs("somebody else has signed in");
    this.#user = user ?? this.#user;
    const cursors = Object.fromEntries(this.#stream.cursors);
    this.#send({ type: "cursors", cursors }, this.#everybody);
  }

  /** @param {string} why */
  #signOut(why) {
    this.#log(why);
    this.#stopTabs(why);
    this.#hangUp();
  }

  /** @param {string} why */
  #stopTabs(why) {
    this.#send({ type: "stop", why }, this.#everybody);
    this.#tabs.clear();
    this.#dropUnwanted();
  }

  /** Nobody is there; whoever comes next begins anew. */
  #hangUp() {
    this.#stream.stop();
    this.#state = { state: "connecting", why: "" };
    this.#user = undefined;
    this.#started = false;
    this.#stream = this.#newStream();
  }

  /**
   * @param {import("./types").State} state
   * @param {string} why
   */
  #tell(state, why) {
    this.#state = { state, why };
    this.#send({ type: "state", state, why }, this.#everybody);
  }
}

/**
 * The name of the lock that a tab holds while it lives.
 *
 * @param {string} tab
 */
export function tabLock(tab) {
  return `stoker:tab:${tab}`;
}
