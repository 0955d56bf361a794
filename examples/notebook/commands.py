"""The commands of the notebook. Each opens what it needs, calls the part that knows how, and says how far it is."""

from __future__ import annotations

import time
from pathlib import Path

from examples.notebook import finding, indexing, insight, library, podcast, providers, records, summary
from examples.notebook.app import notebook
from examples.notebook.extract import ExtractionError
from stoker import Context

# A path is of this computer. Whoever calls from a script may read its files anyway; a browser may not.
_SCRIPTS = ("script",)


@notebook.command(
    priority="critical", timeout=300, retries=2, memory="2GB", never_retry=ExtractionError, callers=_SCRIPTS
)
def process_source(source: records.Source, ctx: Context) -> records.Indexed:
    """Read a document (PDF, HTML, Markdown, text) into the notebook. The same content is read once."""
    return indexing.index(source, ctx.enter(library.opened()), ctx)


@notebook.command(priority="optional", timeout="1h", retries=2, memory="2GB", never_retry=LookupError, concurrency=1)
def embed_source(source_id: str, ctx: Context, before: float = 0.0) -> records.Embedded:
    """Embed what has no vector yet of one source, or has one from before a moment (seconds since 1970)."""
    shelf = ctx.enter(library.opened())
    indexing.shelved(source_id, shelf)
    embedded = indexing.embed_missing(source_id, shelf, ctx, before=before)
    ctx.progress(100, "Ready")
    return records.Embedded(source=source_id, embedded=embedded, skipped=embedded == 0)


@notebook.command(priority="important", timeout=60, retries=2, memory="2GB")
def embed_single_item(item: records.Item, ctx: Context) -> str:
    """Keep a single text, and its meaning; the id it can be found by."""
    return indexing.keep_item(item, ctx.enter(library.opened()))


@notebook.command(priority="optional", timeout=300)
def rebuild_embeddings(ctx: Context) -> records.Rebuild:
    """Embed everything anew, one job for each source. Searches find the old vectors until the new ones are there."""
    begun = time.time()
    known = [source for source in ctx.enter(library.opened()).sources() if source.state == "indexed"]
    jobs = []
    for number, source in enumerate(known):
        ctx.progress(round(100 * number / len(known), 1), f"Submitting {source.title}")
        jobs.append(ctx.submit(embed_source, source_id=source.id, before=begun))
    return records.Rebuild(sources=[source.id for source in known], jobs=jobs)


@notebook.command(priority="important", timeout=120, retries=1, memory="2GB")
def process_text(text: records.Text, ctx: Context) -> records.Summary:
    """Sum a text up in its own sentences, streamed one by one, and name the phrases it turns on."""
    with providers.provider_env(ctx, ctx.enter(library.opened())):
        chosen = summary.sum_up(
            text.text,
            text.sentences,
            text.focus,
            lambda done: ctx.progress(round(100 * done, 1), "Weighing sentences..."),
        )
        for sentence in chosen:
            ctx.stream.write(sentence)
        return records.Summary(
            sentences=chosen,
            phrases=summary.key_phrases(text.text),
            provider=providers.chosen(),
            keys=providers.hints(),
        )


@notebook.command(priority="optional", timeout=600, memory="2GB", callers=_SCRIPTS)
def analyze_data(ctx: Context, path: str | None = None) -> records.Insights:
    """What counting tells: of a table (CSV) if a path is given, else of the whole notebook."""
    if path is not None:
        return insight.of_table(Path(path).expanduser())
    return insight.of_notebook(ctx.enter(library.opened()))


@notebook.command(priority="optional", timeout=900, memory="2GB", concurrency=1)
def generate_podcast(topic: records.Topic, ctx: Context) -> records.PodcastOutput:
    """Two voices talk about a topic, from what the notebook has read. Without a voice the script is kept."""
    return podcast.produce(topic, ctx.enter(library.opened()), ctx)


@notebook.command(priority="critical", timeout=60, memory="2GB")
def search(query: str, ctx: Context, k: records.Count = 5) -> list[records.Hit]:
    """The passages nearest in meaning to a question, best first."""
    return finding.find(query, k, ctx.enter(library.opened()))


@notebook.command(timeout=30)
def list_sources(ctx: Context) -> list[records.Known]:
    """What the notebook has read, and what it could not read and why."""
    return [
        records.Known(
            source=source.id,
            title=source.title,
            path=source.path,
            state=source.state,
            error=source.error,
            chunks=source.passages,
            embedded=source.embedded,
        )
        for source in ctx.enter(library.opened()).sources()
    ]


@notebook.command(timeout=30, secret=("key",))
def keep_key(provider: str, key: str, ctx: Context) -> str:
    """Keep the calling user's own key for a provider; the user whose it is."""
    providers.keep(ctx.enter(library.opened()), ctx.user, provider, key)
    return str(ctx.user)
