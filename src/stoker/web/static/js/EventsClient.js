/**
 * The client of a page: events for this user as they are pushed, jobs as they run, and whatever else can be asked.
 *
 *     const stoker = new EventsClient();
 *     stoker.on("notification", ({ message }) => toast(message));
 *     const job = await stoker.submit("chat.answer", { question });
 *     for await (const word of job.stream()) show(word);
 *
 * All tabs of a browser share one connection. When it breaks it is made again, for as long as the page lives, and goes
 * on where it stopped. `console.debug` tells what happens.
 */

import { BASE, jobId, makeLog, newId, Pause, print, tellAll } from "./common.js";
import { tabLock } from "./hub.js";
import { openLink, shares } from "./links.js";
import { Http, Job, JobFailed, StokerError } from "./rest.js";
import { Subscriptions } from "./subscriptions.js";
import { AUDIENCE, topicOf } from "./wire.js";

export { Job, JobFailed, StokerError };

/** @typedef {import("./types").StokerEvent} StokerEvent */
/** @typedef {import("./types").JobRecord} JobRecord */
/** @typedef {import("./types").State} State */
/** @typedef {import("./subscriptions.js").Subscription} Subscription */

/** How often a job is submitted, when the server does not answer. */
const TRIES = 4;
/** Milliseconds; where no lock says that this tab lives, it says so itself. */
const ALIVE_EVERY = 30_000;

export class EventsClient extends EventTarget {
  /** @type {EventsClient | null} */
  static #shared = null;

  /** @type {State} */
  #state = "connecting";
  /** @type {import("./links.js").Link | null} */
  #link = null;
  /** @type {Map<string, Set<(data: any, event: StokerEvent) => void>>} */
  #handlers = new Map();
  #alive;
  #http;
  #log;
  #shares;
  #user;
  #subscriptions;

  /** The client that the elements of a page use; made when first asked for. @returns {EventsClient} */
  static shared() {
    return (EventsClient.#shared ??= new EventsClient());
  }

  /**
   * @param {object} [options]
   * @param {string} [options.user] whose page this is: in a browser where two people work, each has a line of their own
   * @param {string} [options.token] sent as a bearer; without one the browser's cookie speaks. Tabs with a token share
   *   a line only where `user` says whose it is
   * @param {import("./types").Share} [options.share] use this way to share a line, or a lesser one; `?push=` in the
   *   page's address says the same
   */
  constructor({ user = "", token = "", share } = {}) {
    super();
    /** The id of this tab, to address it alone. Another one each time the page is loaded. */
    this.instance = newId();
    this.#user = user;
    this.#http = new Http(BASE, token);
    this.#log = makeLog(`tab ${this.instance.slice(0, 4)}`);
    const least = token && !user ? "tab" : (share ?? new URLSearchParams(location.search).get("push"));
    const ways = shares();
    this.#shares = ways.slice(Math.max(0, ways.findIndex((way) => way === least)));
    this.#alive = this.#live();
    this.#subscriptions = new Subscriptions((wish) => this.#want(wish));
    this.#subscriptions.add(AUDIENCE, (event) => this.#dispatch(event), "");
    for (const moment of ["online", "pageshow"]) addEventListener(moment, this.#wake);
    addEventListener("pagehide", this.#leave);
    document.addEventListener("visibilitychange", this.#look);
    if (!navigator.locks) setInterval(() => this.#post("alive"), ALIVE_EVERY);
    this.#open();
  }

  /** How the line is: `connecting`, `live`, `polling`, `offline`, `unauthorized` or `closed`. A `state` event tells. */
  get state() {
    return this.#state;
  }

  /** @returns {Promise<void>} when events come; raises a {@link StokerError} when the server does not let us in */
  connect() {
    if (this.#state !== "live" && this.#state !== "polling") this.#tell("connecting", "");
    this.#wake();
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.#state === "live" || this.#state === "polling") done(resolve);
        if (this.#state === "unauthorized") done(() => reject(new StokerError("unauthorized", "not let in", 401)));
      };
      const done = (/** @type {() => void} */ settle) => {
        this.removeEventListener("state", look);
        settle();
      };
      this.addEventListener("state", look);
      look();
    });
  }

  /** Hang up. {@link connect} takes up the line again. */
  close() {
    this.#leave();
    this.#tell("closed", "by the page");
  }

  /**
   * Call `fn` with the data of each event of this name that is pushed to this user, session or tab. The name `reset`
   * tells that events were missed that are not kept any more.
   *
   * @param {string} event `*` for every one
   * @param {(data: any, event: StokerEvent) => void} fn
   * @returns {() => void} ends it
   */
  on(event, fn) {
    const handlers = this.#handlers.get(event) ?? new Set();
    this.#handlers.set(event, handlers.add(fn));
    return () => void handlers.delete(fn);
  }

  /**
   * Call `fn` with each event of a job from its first on, then with `end`; or of the topics `jobs`, `sys-stats` and
   * `workers`.
   *
   * @param {string | Job} topic a topic, or a job or its id
   * @param {(event: StokerEvent) => void} fn
   * @param {{after?: string | number}} [options] the cursor of an event, to go on behind it
   * @returns {Subscription}
   */
  subscribe(topic, fn, { after } = {}) {
    const name = topicOf(topic instanceof Job ? topic.id : topic);
    return this.#subscriptions.add(name, fn, String(after ?? (name.startsWith("job:") ? 0 : "")));
  }

  /**
   * Store a job. When the line breaks it is sent again under the same id, so that there is one job however often.
   *
   * @param {string} command its full name
   * @param {any} [input]
   * @param {Record<string, any>} [options] `priority`, `delay`, `tags`, … as the method `submit` takes them
   * @returns {Promise<Job>}
   */
  async submit(command, input = {}, options = {}) {
    const body = { id: jobId(), ...options, command, input };
    const { id } = await this.#insist("POST", "jobs", body);
    return new Job(this, id);
  }

  /**
   * Submit, and wait for the value.
   *
   * @param {string} command
   * @param {any} [input]
   * @param {Record<string, any>} [options]
   * @returns {Promise<any>}
   * @throws {JobFailed | StokerError}
   */
  async call(command, input = {}, options = {}) {
    const job = await this.submit(command, input, options);
    await job.ended();
    return job.result();
  }

  /** @param {string} id @returns {Job} a handle; nothing is asked yet */
  job(id) {
    return new Job(this, id);
  }

  /**
   * @param {Record<string, string | number>} [filters] `status`, `command`, `product`, `tag`, `before`, `limit`
   * @returns {Promise<JobRecord[]>} this user's jobs, newest first
   */
  jobs(filters = {}) {
    const query = new URLSearchParams(Object.entries(filters).map(([name, value]) => [name, String(value)]));
    return this.request("GET", `jobs?${query}`);
  }

  /** @param {string} id @param {string} [reason] @returns {Promise<JobRecord>} */
  cancel(id, reason) {
    return this.job(id).cancel(reason);
  }

  /**
   * Any request of the bridge.
   *
   * @param {string} method
   * @param {string} path below the place where the bridge is mounted
   * @param {unknown} [body]
   * @returns {Promise<any>}
   * @throws {StokerError}
   */
  request(method, path, body) {
    this.#log(`${method} ${path}`);
    return this.#http.request(method, path, body);
  }

  /** End this session: here, in the other tabs, and at the server. */
  async logout() {
    this.#post("signout");
    await this.request("POST", "auth/logout", {});
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   */
  async #insist(method, path, body) {
    for (let tried = 1; ; tried++) {
      try {
        return await this.request(method, path, body);
      } catch (error) {
        const passing = error instanceof StokerError && [0, 502, 503].includes(error.status);
        if (!passing || tried === TRIES) throw error;
        await new Pause().wait(250 * 2 ** tried);
      }
    }
  }

  #open() {
    this.#link = openLink(
      this.#shares[0],
      {
        tab: this.instance,
        receive: (message) => this.#receive(message),
        opened: () => this.#alive.then(() => this.#subscriptions.opened()),
        failed: () => {
          this.#shares.shift();
          this.#open();
        },
        log: this.#log,
      },
      this.#user,
    );
  }

  /** Take the lock that says that this tab lives; the browser lets it go, however the tab ends. */
  #live() {
    if (!navigator.locks) return Promise.resolve();
    return new Promise((taken) => {
      navigator.locks.request(tabLock(this.instance), () => {
        taken(undefined);
        return new Promise(() => {});
      });
    });
  }

  /** @param {{n: number, topics: string[], from: Record<string, string>}} wish */
  #want(wish) {
    this.#link?.post({
      type: "want",
      tab: this.instance,
      visible: !document.hidden,
      token: this.#http.token,
      locked: Boolean(navigator.locks),
      ...wish,
    });
  }

  /** @param {"bye" | "wake" | "signout" | "alive"} type */
  #post(type) {
    this.#link?.post({ type, tab: this.instance });
  }

  /** @param {import("./types").ToTab} message */
  #receive(message) {
    if (this.#subscriptions.receive(message)) return;
    if (message.type === "state") this.#tell(message.state, message.why);
    else if (message.type === "token") this.#http.token = message.token;
    else if (message.type === "unknown") this.#subscriptions.opened();
    else if (message.type === "log") print(message.line, message.details);
    else if (message.type === "stop") {
      this.#leave();
      this.#tell("closed", message.why);
    }
  }

  /**
   * @param {State} state
   * @param {string} why
   */
  #tell(state, why) {
    if (state === this.#state) return;
    this.#state = state;
    this.#log(state, why || undefined);
    this.dispatchEvent(new CustomEvent("state", { detail: { state, why } }));
  }

  /** @param {StokerEvent} event */
  #dispatch(event) {
    this.#log(`event ${event.event}`, event);
    for (const name of [event.event, "*"]) tellAll(this.#handlers.get(name) ?? [], event.data, event);
  }

  /** Also after the page came back out of the browser's cache; but not after it hung up, or its session ended. */
  #wake = () => {
    if (this.#link) this.#post("wake");
    else if (this.#state !== "closed") this.#open();
  };

  #look = () => {
    this.#subscriptions.ask();
    if (!document.hidden) this.#wake();
  };

  #leave = () => {
    this.#post("bye");
    this.#subscriptions.lost();
    this.#link?.close();
    this.#link = null;
  };
}
