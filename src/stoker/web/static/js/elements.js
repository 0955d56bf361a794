/**
 * Two elements for any page: how far a job is, and what it says.
 *
 *     <stoker-progress job="01a2…"></stoker-progress>
 *     <stoker-stream job="01a2…"></stoker-stream>
 *
 * They use one client for the whole page, `EventsClient.shared()`, or the one in their property `client`. Colours are
 * CSS custom properties, and the inside has parts (`::part(bar)`). The attribute `status` follows that of the job; when
 * it has ended, an `end` event is dispatched. Whatever a job says is shown as text and never as markup.
 */

import { EventsClient } from "./EventsClient.js";

/** @typedef {import("./types").StokerEvent} StokerEvent */

/** Milliseconds between changes of the page, however fast a job speaks. */
const FLUSH_EVERY = 50;
/** Pixels from the bottom at which somebody reads along. */
const NEAR = 8;

const LOOK = new CSSStyleSheet();
LOOK.replaceSync(`
  :host { display: block; font: var(--stoker-font, 13px/1.4 system-ui, sans-serif); color: var(--stoker-fg, inherit); }
  :host([hidden]) { display: none; }
  [part=track] { height: var(--stoker-height, 6px); border-radius: var(--stoker-radius, 6px); overflow: hidden;
    background: var(--stoker-track, color-mix(in srgb, currentColor 12%, transparent)); }
  [part=bar] { height: 100%; width: 0; border-radius: inherit; background: var(--stoker-accent, #0f766e);
    transition: width 120ms linear; }
  :host([status=new]) [part=bar] { background: var(--stoker-queued, #57616f); }
  :host([status=completed]) [part=bar] { background: var(--stoker-succeeded, #3e8176); }
  :host([status=failed]) [part=bar] { background: var(--stoker-failed, #8f000f); }
  :host([status=cancelled]) [part=bar] { background: var(--stoker-cancelled, #4c4845); }
  [part=label] { display: flex; justify-content: space-between; gap: 1em; margin-top: 4px;
    font-variant-numeric: tabular-nums; }
  [part=head] { display: flex; align-items: center; gap: .75em; margin-bottom: 4px; }
  [part=state] { flex: 1; }
  button { font: inherit; color: inherit; background: none; border: 1px solid currentColor; cursor: pointer;
    border-radius: var(--stoker-radius, 6px); padding: 2px 10px; }
  button[aria-pressed=true] { background: var(--stoker-accent, #0f766e); color: var(--stoker-bg, #fff); }
  [part=output] { margin: 0; padding: 8px 10px; overflow: auto; max-height: var(--stoker-max-height, 24em);
    white-space: pre-wrap; overflow-wrap: anywhere; font-family: var(--stoker-mono, ui-monospace, monospace);
    background: var(--stoker-surface, color-mix(in srgb, currentColor 5%, transparent));
    border-radius: var(--stoker-radius, 6px); }
  [part=notice] { display: block; opacity: .75; font-style: italic; }
  @media (prefers-reduced-motion: reduce) { [part=bar] { transition: none; } }
`);

/** What both elements share: a job to follow, from when they are in a page until they leave it. */
class JobElement extends HTMLElement {
  static observedAttributes = ["job"];

  /** @type {EventsClient | null} set it before the element is put into the page to use another than the shared one */
  client = null;
  /** @type {import("./EventsClient.js").Subscription | null} */
  #subscription = null;

  constructor() {
    super();
    this.root = this.attachShadow({ mode: "open" });
    this.root.adoptedStyleSheets = [LOOK];
  }

  connectedCallback() {
    this.#follow();
  }

  disconnectedCallback() {
    this.#subscription?.close();
    this.#subscription = null;
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#follow();
  }

  /** A job is followed from its beginning. */
  begin() {}

  /** @param {StokerEvent} event of the job */
  hear(event) {
    void event;
  }

  /**
   * The job has ended.
   *
   * @param {string} status
   * @param {import("./types").JobRecord | null} record null when it cannot be had
   */
  end(status, record) {
    void [status, record];
  }

  get #client() {
    return this.client ?? EventsClient.shared();
  }

  #follow() {
    this.#subscription?.close();
    this.#subscription = null;
    this.removeAttribute("status");
    const id = this.getAttribute("job");
    if (!id) return;
    this.begin();
    try {
      this.#subscription = this.#client.subscribe(id, (event) => this.#take(id, event));
    } catch {
      return this.#take(id, { topic: "", event: "end", data: {}, cursor: "" }); // it can be no job's id
    }
    this.#record(id).then((record) => record && this.#begun(record));
  }

  /** @param {import("./types").JobRecord} record */
  #begun({ status, progress }) {
    if (this.hasAttribute("status")) return; // events were quicker
    this.setAttribute("status", status);
    if (progress) this.hear({ topic: "", event: "progress", data: progress, cursor: "" });
  }

  /**
   * @param {string} id
   * @param {StokerEvent} event
   */
  async #take(id, event) {
    if (id !== this.getAttribute("job")) return;
    if (event.event !== "end") {
      this.setAttribute("status", "running");
      this.hear(event);
      if (event.event === "reset") this.#catchUp(id);
      return;
    }
    const status = event.data.status ?? "unknown";
    this.setAttribute("status", status);
    const record = await this.#record(id);
    this.end(status, record);
    this.dispatchEvent(new CustomEvent("end", { detail: record }));
  }

  /** Something was missed that is not told again: how far it is now, is asked. @param {string} id */
  async #catchUp(id) {
    const record = await this.#record(id);
    if (record?.progress) this.hear({ topic: "", event: "progress", data: record.progress, cursor: "" });
  }

  /**
   * @param {string} id
   * @returns {Promise<import("./types").JobRecord | null>} null when it cannot be had, or is not asked for any more
   */
  async #record(id) {
    const record = await this.#client.job(id).record().catch(() => null);
    return id === this.getAttribute("job") ? record : null;
  }
}

/** How far a job is: a bar, and what it says it is doing. */
export class StokerProgress extends JobElement {
  #bar = part("div", "bar");
  #track = part("div", "track", this.#bar);
  #message = part("span", "message");
  #percent = part("span", "percent");

  constructor() {
    super();
    this.#track.setAttribute("role", "progressbar");
    this.#track.setAttribute("aria-valuemin", "0");
    this.#track.setAttribute("aria-valuemax", "100");
    this.root.append(this.#track, part("div", "label", this.#message, this.#percent));
  }

  /** @override */
  begin() {
    this.#show(null, "");
  }

  /** @override @param {StokerEvent} event */
  hear({ event, data }) {
    if (event === "progress") this.#show(data.percent ?? null, data.message ?? data.step ?? "");
  }

  /** @override @param {string} status @param {import("./types").JobRecord | null} record */
  end(status, record) {
    const percent = status === "completed" ? 100 : (record?.progress?.percent ?? null);
    this.#show(percent, record?.error ?? (status === "unknown" ? "there is no such job" : status));
  }

  /**
   * @param {number | null} percent null while it is not known
   * @param {string} message
   */
  #show(percent, message) {
    const known = percent === null ? "" : `${Math.round(Math.min(100, Math.max(0, percent)))}`;
    this.#bar.style.width = `${known || 0}%`;
    if (known) this.#track.setAttribute("aria-valuenow", known);
    else this.#track.removeAttribute("aria-valuenow");
    this.#track.setAttribute("aria-label", message || "progress");
    this.#message.textContent = message;
    this.#percent.textContent = known && `${known}\u00a0%`;
  }
}

/** What a job says while it runs: `chunk`, `stdout` and `stderr`, or the kinds that the attribute `kinds` names. */
export class StokerStream extends JobElement {
  #state = part("span", "state");
  #button = /** @type {HTMLButtonElement} */ (part("button", "follow", "Follow"));
  #output = part("pre", "output");
  #waiting = "";
  #flush = 0;

  constructor() {
    super();
    this.#output.setAttribute("role", "log");
    this.#output.setAttribute("aria-live", "polite");
    this.#output.setAttribute("aria-label", "output");
    this.#output.tabIndex = 0;
    this.#button.type = "button";
    this.#button.addEventListener("click", () => (this.following = !this.following));
    this.#output.addEventListener("scroll", () => this.#scrolled());
    this.following = true;
    this.root.append(part("div", "head", this.#state, this.#button), this.#output);
  }

  /** Whether the newest line is kept in view. */
  get following() {
    return this.#button.getAttribute("aria-pressed") === "true";
  }

  set following(following) {
    this.#button.setAttribute("aria-pressed", String(following));
    if (following) this.#output.scrollTop = this.#output.scrollHeight;
  }

  /** Everything that is shown. */
  get text() {
    return this.#output.textContent + this.#waiting;
  }

  /** @override */
  begin() {
    this.#waiting = "";
    this.#output.replaceChildren();
    this.#state.textContent = "";
  }

  /** @override @param {StokerEvent} event */
  hear({ event, data }) {
    const kinds = (this.getAttribute("kinds") ?? "chunk stdout stderr").split(/\s+/);
    this.#state.textContent = "running";
    if (event === "reset") this.#note("Earlier output is not kept any more.");
    else if (event === "attempt") this.#note(`Attempt ${data.attempt} ended (${data.outcome}); the job goes on.`);
    else if (kinds.includes(event)) this.#write(textOf(event, data));
  }

  /** @override @param {string} status @param {import("./types").JobRecord | null} record */
  end(status, record) {
    this.#show();
    this.#state.textContent = record?.error ? `${status}: ${record.error}` : status;
  }

  /** @param {string} text */
  #write(text) {
    this.#waiting += text;
    this.#flush ||= setTimeout(() => this.#show(), FLUSH_EVERY);
  }

  #show() {
    clearTimeout(this.#flush);
    this.#flush = 0;
    if (this.#waiting) this.#output.append(this.#waiting); // a string becomes a text node
    this.#waiting = "";
    if (this.following) this.#output.scrollTop = this.#output.scrollHeight;
  }

  /** @param {string} text of ours, not of the job */
  #note(text) {
    this.#show();
    this.#output.append(part("span", "notice", text));
  }

  /** Scrolling up stops following, scrolling to the end takes it up again. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#output;
    const near = scrollHeight - scrollTop - clientHeight < NEAR;
    if (near !== this.following) this.#button.setAttribute("aria-pressed", String(near));
  }
}

/**
 * @param {string} event
 * @param {any} data
 * @returns {string} as it is to be read
 */
function textOf(event, data) {
  if (event === "log") return `${data.level}: ${data.message}\n`;
  return typeof data === "string" ? data : `${JSON.stringify(data)}\n`;
}

/**
 * An element that pages can style as `::part(name)`.
 *
 * @param {string} tag
 * @param {string} name
 * @param {(Node | string)[]} children
 * @returns {HTMLElement}
 */
function part(tag, name, ...children) {
  const element = document.createElement(tag);
  element.setAttribute("part", name);
  element.append(...children);
  return element;
}

customElements.define("stoker-progress", StokerProgress);
customElements.define("stoker-stream", StokerStream);
