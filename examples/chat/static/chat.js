/** The page of the chat: what was asked, the answers as they come, the documents, and what there is to be told. */

import { EventsClient } from "/stoker/js/EventsClient.js";
import "/stoker/js/elements.js";
import { Documents } from "./documents.js";
import { byId, getJson, make, toast } from "./page.js";

const CHAT = "chat.llm_chat";
const RAG = "chat.elaborate_rag";
const SHOWN = 30;
const REMEMBERED = 3;
const NEAR = 80;
/** Pixels from the bottom at which somebody reads along. */

const me = await getJson("/me");
const stoker = new EventsClient({ user: me.user });
const documents = new Documents(stoker);
/** The turns by the ids of their jobs, which are in the order of time. @type {Map<string, Turn>} */
const turns = new Map();

/** A question, and its answer as it comes. */
class Turn {
  constructor(id, question, status) {
    this.id = id;
    this.question = question;
    this.answer = "";
    this.open = !["completed", "failed", "cancelled"].includes(status);
    this.stream = make("stoker-stream", { kinds: "chunk" });
    this.stream.client = stoker;
    this.stream.setAttribute("job", id);
    this.status = make("p", { className: "status" });
    this.sources = make("div");
    this.element = make("article", { className: "turn" }, [
      make("p", { className: "question", textContent: question }), this.stream, this.status, this.sources,
    ]);
    if (this.open) this.say("waiting for the model", "busy");
    this.stream.addEventListener("end", ({ detail }) => this.end(detail));
  }

  say(text, kind = "") {
    this.status.textContent = text;
    this.status.className = `status ${kind}`;
  }

  end(record) {
    this.open = false;
    this.answer = record?.output?.text ?? this.stream.text;
    const status = this.stream.getAttribute("status");
    if (status === "completed") this.say(record?.output?.model ?? "");
    else if (status === "cancelled") this.say("stopped");
    else this.say(record?.error ?? "this answer is not kept any more", "bad");
    const found = record?.output?.sources ?? [];
    if (found.length) this.sources.replaceChildren(sourceList(found));
    showStop();
  }
}

function sourceList(sources) {
  const items = sources.map(({ title, text }) => make("li", {}, [make("b", { textContent: title }), ` ${text}`]));
  return make("details", { className: "sources" }, [
    make("summary", { textContent: sources.length === 1 ? "1 source" : `${sources.length} sources` }),
    make("ol", {}, items),
  ]);
}

function addTurn(id, question, status) {
  if (turns.has(id)) return;
  const turn = new Turn(id, question, status);
  turns.set(id, turn);
  const next = [...turns.keys()].filter((other) => other > id).sort()[0];
  byId("turns").insertBefore(turn.element, next ? turns.get(next).element : null);
  byId("empty").hidden = true;
  showStop();
}

const openTurns = () => [...turns.values()].filter((turn) => turn.open);

function showStop() {
  byId("stop").hidden = openTurns().length === 0;
}

/** What was asked before, in this or any other tab, on this or any other day that is kept. */
async function reload() {
  const [asked, builds] = await Promise.all([
    stoker.jobs({ command: CHAT, limit: SHOWN }), stoker.jobs({ command: RAG, limit: 3 }), documents.show(),
  ]);
  for (const { id, input, status } of asked) addTurn(id, input.question, status);
  for (const { id, status } of builds) if (["new", "running"].includes(status)) documents.follow(id);
}

/** A job of this user changed, perhaps one that another tab asked for. */
async function look({ event, data }) {
  if (event === "look" || event === "reset") return reload();
  if (data?.command === RAG) return documents.follow(data.job);
  if (data?.command !== CHAT) return;
  if (!turns.has(data.job)) {
    const { input, status } = await stoker.job(data.job).record();
    addTurn(data.job, input.question, status);
  }
  const turn = turns.get(data.job);
  if (data.status === "running" && turn.open) turn.say("answering", "busy");
}

/** What could not be fetched is, when the line is back. */
function later(error) {
  console.debug("chat:", error.message);
}

async function ask(event) {
  event.preventDefault();
  const field = byId("question");
  const question = field.value.trim();
  if (!question) return;
  const said = [...turns.values()].filter(({ answer }) => answer);
  const history = said.slice(-REMEMBERED).map(({ question, answer }) => ({ question, answer: answer.slice(0, 1500) }));
  byId("send").disabled = true;
  try {
    const { id } = await stoker.submit(CHAT, { question, history, documents: byId("use").checked });
    field.value = "";
    grow(field);
    addTurn(id, question, "new");
    toEnd();
  } catch (error) {
    toast({ level: "error", title: "Not sent", message: error.message });
  }
  byId("send").disabled = false;
  field.focus();
}

async function stop() {
  for (const { id } of openTurns()) {
    await stoker.cancel(id, "stopped by the user").catch((error) => toast({ level: "error", title: "Not stopped", message: error.message }));
  }
}

function grow(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

let near = true;

/** The newest word in view, and kept there while it grows, until somebody scrolls up. */
function toEnd() {
  near = true;
  scrollTo({ top: document.documentElement.scrollHeight });
}

byId("user").textContent = me.user;
byId("model").textContent = me.model;
byId("documents").open = matchMedia("(min-width: 960px)").matches;
byId("ask").addEventListener("submit", ask);
byId("stop").addEventListener("click", stop);
byId("question").addEventListener("input", ({ target }) => grow(target));
byId("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("ask").requestSubmit();
});
stoker.on("notification", toast);
stoker.addEventListener("state", ({ detail: { state } }) => {
  byId("line").textContent = state;
  byId("line").className = state;
  if (state === "unauthorized" || state === "closed") location.assign("/login");
  if (state === "live" || state === "polling") reload().catch(later);
});
stoker.subscribe("jobs", (event) => look(event).catch(later));
addEventListener("scroll", () => (near = document.documentElement.scrollHeight - scrollY - innerHeight < NEAR), { passive: true });
new ResizeObserver(() => near && toEnd()).observe(byId("turns"));
