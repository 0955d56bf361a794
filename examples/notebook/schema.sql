-- The notebook's own database. What a job is and how far it got is Stoker's business and is not in here.

-- A document, or a single item. Its id is made from its content, so nothing is ever kept twice.
create table if not exists sources (
  id         text primary key,
  title      text not null,
  path       text not null,               -- empty for a single item
  state      text not null check (state in ('reading', 'indexed', 'failed')),
  error      text,
  characters integer not null default 0,
  added      real not null
);
create index if not exists sources_by_path on sources (path);

-- Its text, cut into passages.
create table if not exists passages (
  source   text not null references sources on delete cascade,
  position integer not null,
  text     text not null,
  primary key (source, position)
) without rowid;

-- What the passages mean. Apart from the text, so that a search goes through nothing else.
create table if not exists vectors (
  id       integer primary key,
  source   text not null references sources on delete cascade,
  position integer not null,
  vector   blob not null,                 -- 384 float32
  model    text not null,
  made     real not null,
  unique (source, position)
);

-- A podcast, with whatever there is of it.
create table if not exists episodes (
  id     text primary key,                -- of the job
  topic  text not null,
  state  text not null check (state in ('speaking', 'done', 'failed')),
  error  text,
  script text not null,
  audio  text
);

-- Each user's own keys for providers of models.
create table if not exists keys (
  user     text not null,
  provider text not null,
  key      text not null,
  primary key (user, provider)
) without rowid;
