import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { type Random, randomOf } from "../chaos/random.ts";

/** The tenants of the world; one is a bystander that is only ever read. */
export const ACCOUNTS = [1, 2, 3, 4] as const;
const BUSY = [1, 2, 3] as const;

/** Writers rest a little: what counts is how they meet, not how much they write. */
const MOST_REST_MS = 25;
/** Of a slow transaction, twice. */
const MOST_PAUSE_MS = 400;

type Step = (client: pg.ClientBase, random: Random) => Promise<unknown>;

/** SQLSTATEs of writers that met: the transaction is rolled back, as an application would, and goes unnoticed by the log. */
const COLLISIONS = new Set(["23505", "23503", "40P01", "40001", "55P03", "42703", "57014"]);

const below = (random: Random, end: number): number => random.whole(0, end - 1);
const chance = (random: Random, probability: number): boolean => random.whole(1, 100) <= probability * 100;
const account = (random: Random): number => random.pick(BUSY);
const text = (random: Random): string =>
  random.pick([
    "plain",
    "tab\there",
    "new\nline",
    "back\\slash",
    "\\N",
    "\\U",
    "",
    "ünï 🦆",
    "quote'\"",
    `n${below(random, 1e6)}`,
  ]);
const long = (random: Random): string => `${below(random, 1e9)}:`.repeat(400 + below(random, 2_000));

const NUMBERS = ["0", "1.10", "-0.0001", "NaN", "Infinity", "-Infinity", "12345678901234567890.123456789"] as const;
const FLOATS = ["0.1", "-0", "NaN", "Infinity", "5e-324", "1.7976931348623157e308"] as const;
const TIMES = ["2026-02-28 23:59:59.999999+00", "-infinity", "infinity", "0044-03-15 00:00:00+00 BC", "now"] as const;
const SPANS = ["1 year -2 mons 3 days 04:05:06.789", "-00:00:00.000001", "0"] as const;
const DOCS = ['{"a": [1, 2.50, null]}', "null", '"\\u00e9"', "{}"] as const;
const RANGES = ["empty", "(,)", "[2026-01-01 00:00+00,)", null] as const;

/** What one step of a transaction may be, and how often beside the others. */
const STEPS: readonly (readonly [number, Step])[] = [
  [
    10,
    (c, r) =>
      c.query("INSERT INTO projects (account_id, name, budget) VALUES ($1, $2, $3)", [
        account(r),
        text(r),
        r.pick(NUMBERS),
      ]),
  ],
  [
    6,
    (c, r) =>
      c.query(
        "UPDATE projects SET budget = $2, name = $3 WHERE id = (SELECT id FROM projects WHERE account_id = $1 OFFSET $4 LIMIT 1)",
        [account(r), r.pick(NUMBERS), text(r), below(r, 20)],
      ),
  ],
  [
    2,
    (c, r) =>
      c.query("DELETE FROM projects WHERE id = (SELECT id FROM projects WHERE account_id = $1 OFFSET $2 LIMIT 1)", [
        account(r),
        below(r, 20),
      ]),
  ],
  [
    12,
    (c, r) =>
      c.query(
        "INSERT INTO notes (project_id, body, reply_to) SELECT p.id, $2, (SELECT max(id) FROM notes WHERE project_id = p.id) FROM projects p WHERE account_id = $1 OFFSET $3 LIMIT 1",
        [account(r), text(r), below(r, 20)],
      ),
  ],
  [
    6,
    (c, r) =>
      c.query(
        "UPDATE notes SET body = $2 WHERE id = (SELECT n.id FROM notes n JOIN projects p ON p.id = n.project_id WHERE p.account_id = $1 OFFSET $3 LIMIT 1)",
        [account(r), text(r), below(r, 30)],
      ),
  ],
  [
    2,
    (c, r) =>
      c.query(
        "DELETE FROM notes WHERE id = (SELECT n.id FROM notes n JOIN projects p ON p.id = n.project_id WHERE p.account_id = $1 OFFSET $2 LIMIT 1)",
        [account(r), below(r, 30)],
      ),
  ],
  [
    8,
    (c, r) =>
      c.query(
        "INSERT INTO note_tags SELECT id, $2, $3 FROM notes WHERE id % 5 = $1 ORDER BY id DESC LIMIT 3 ON CONFLICT (note_id, tag) DO UPDATE SET weight = EXCLUDED.weight",
        [below(r, 5), r.pick(["red", "green", "blue"]), r.pick(["0.1", "NaN", "3.4028235e38"])],
      ),
  ],
  [10, insertItem],
  [
    6,
    (c, r) =>
      c.query("UPDATE items SET title = $2, n = $3, at = $4 WHERE id = $1", [
        below(r, 400),
        text(r),
        r.pick(NUMBERS),
        r.pick(TIMES),
      ]),
  ],
  [3, (c, r) => c.query("UPDATE items SET big = $2 WHERE id = $1", [below(r, 400), long(r)])],
  [2, (c, r) => c.query("UPDATE items SET id = $2 WHERE id = $1", [below(r, 400), below(r, 400)])],
  [3, (c, r) => c.query("UPDATE items SET account_id = $2 WHERE id = $1", [below(r, 400), account(r)])],
  [3, (c, r) => c.query("DELETE FROM items WHERE id = $1", [below(r, 400)])],
  [
    4,
    (c, r) =>
      c.query("INSERT INTO documents (account_id, title, body) VALUES ($1, $2, $3)", [
        account(r),
        text(r),
        chance(r, 0.8) ? long(r) : null,
      ]),
  ],
  [
    6,
    (c, r) =>
      c.query(
        "UPDATE documents SET title = $2 WHERE id = (SELECT id FROM documents WHERE account_id = $1 OFFSET $3 LIMIT 1)",
        [account(r), text(r), below(r, 20)],
      ),
  ],
  [
    2,
    (c, r) =>
      c.query("DELETE FROM documents WHERE id = (SELECT id FROM documents WHERE account_id = $1 OFFSET $2 LIMIT 1)", [
        account(r),
        below(r, 20),
      ]),
  ],
  // To another tenant, under an identity that does not say whose it was. All values are written: one that the WAL left out would be gone.
  [
    4,
    (c, r) =>
      c.query(
        "UPDATE documents SET account_id = $2, body = $3 WHERE id = (SELECT id FROM documents WHERE account_id = $1 OFFSET $4 LIMIT 1)",
        [account(r), account(r), r.pick([null, text(r), long(r)]), below(r, 20)],
      ),
  ],
  [
    5,
    (c, r) =>
      c.query(
        "INSERT INTO labels VALUES ($1, $2, $3) ON CONFLICT (account_id, name) DO UPDATE SET colour = EXCLUDED.colour",
        [account(r), `l${below(r, 40)}`, text(r)],
      ),
  ],
  [
    2,
    (c, r) =>
      c.query("UPDATE labels SET name = $3 WHERE account_id = $1 AND name = $2", [
        account(r),
        `l${below(r, 40)}`,
        `l${below(r, 40)}`,
      ]),
  ],
  [
    1,
    (c, r) =>
      c.query("UPDATE labels SET account_id = $3 WHERE account_id = $1 AND name = $2", [
        account(r),
        `l${below(r, 40)}`,
        account(r),
      ]),
  ],
  [2, (c, r) => c.query("DELETE FROM labels WHERE account_id = $1 AND name = $2", [account(r), `l${below(r, 40)}`])],
  [
    8,
    (c, r) =>
      c.query("INSERT INTO clicks SELECT $1, $2, $3 FROM generate_series(1, $4)", [
        account(r),
        text(r),
        below(r, 3),
        1 + below(r, 3),
      ]),
  ],
  [
    3,
    (c, r) =>
      c.query("DELETE FROM clicks WHERE ctid = (SELECT ctid FROM clicks WHERE account_id = $1 OFFSET $2 LIMIT 1)", [
        account(r),
        below(r, 50),
      ]),
  ],
  [
    3,
    (c, r) =>
      c.query(
        "UPDATE clicks SET n = n + 1 WHERE ctid = (SELECT ctid FROM clicks WHERE account_id = $1 OFFSET $2 LIMIT 1)",
        [account(r), below(r, 50)],
      ),
  ],
  [
    6,
    (c, r) =>
      c.query("INSERT INTO events VALUES ($1, $2::date, $3, $4) ON CONFLICT DO NOTHING", [
        account(r),
        r.pick(["2025-12-31", "2026-01-01"]),
        below(r, 200),
        r.pick(DOCS),
      ]),
  ],
  [
    3,
    (c, r) =>
      c.query(
        "UPDATE events SET day = CASE day WHEN '2025-12-31' THEN date '2026-01-01' ELSE date '2025-12-31' END WHERE account_id = $1 AND id = $2",
        [account(r), below(r, 200)],
      ),
  ],
  [
    4,
    (c, r) =>
      c.query(
        "INSERT INTO drafts VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text, account_id = EXCLUDED.account_id",
        [below(r, 100), account(r), text(r)],
      ),
  ],
  [
    5,
    (c, r) =>
      c.query(
        "INSERT INTO flex (id, account_id) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET account_id = EXCLUDED.account_id",
        [below(r, 100), account(r)],
      ),
  ],
  [1, (c, r) => c.query("DELETE FROM flex WHERE id = $1", [below(r, 100)])],
  [3, (c, r) => c.query("UPDATE accounts SET changed = changed + 1 WHERE id = $1", [account(r)])],
];
const WEIGHT = STEPS.reduce((sum, [weight]) => sum + weight, 0);

function insertItem(client: pg.ClientBase, r: Random): Promise<unknown> {
  return client.query(
    "INSERT INTO items VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (id) DO NOTHING",
    [
      below(r, 400),
      account(r),
      text(r),
      chance(r, 0.3) ? long(r) : null,
      r.pick(NUMBERS),
      r.pick(FLOATS),
      r.pick(TIMES),
      r.pick(SPANS),
      r.pick(DOCS),
      r.pick([[], ["a", ""], ["{", '"', "\\"]]),
      Buffer.from(text(r)),
      r.pick(RANGES),
      r.pick(["", "101", "1111000011110000"]),
      r.pick(["10.0.0.1/8", "::1", "2001:db8::/32"]),
    ],
  );
}

function step(random: Random): Step {
  let left = below(random, WEIGHT);
  for (const [weight, choice] of STEPS) {
    left -= weight;
    if (left < 0) return choice;
  }
  return insertItem;
}

/** What happens too seldom to be a step: each is a transaction of its own. */
const RARITIES: readonly [Step, ...Step[]] = [
  (c) => c.query("TRUNCATE drafts"),
  // A transaction of many rows, over several tenants.
  (c, r) => c.query("INSERT INTO clicks SELECT 1 + g % 3, 'bulk', $1 FROM generate_series(1, 3000) g", [below(r, 9)]),
  (c) => c.query("DELETE FROM clicks WHERE path = 'bulk'"),
  (c, r) => c.query("UPDATE documents SET title = title || '.' WHERE account_id = $1", [account(r)]),
];

/** Changes of a table's columns, with rows that change between them. */
const SCHEMA_CHANGES: readonly [Step, ...Step[]] = [
  (c, r) => c.query("ALTER TABLE flex ADD COLUMN IF NOT EXISTS c text DEFAULT 'given'").then(() => fillFlex(c, r, "c")),
  (c) => c.query("ALTER TABLE flex DROP COLUMN IF EXISTS c"),
  (c, r) => c.query("ALTER TABLE flex ADD COLUMN IF NOT EXISTS d integer").then(() => fillFlex(c, r, "d")),
  (c) => c.query("ALTER TABLE flex DROP COLUMN IF EXISTS d"),
  (c, r) => c.query(chance(r, 0.5) ? "ALTER TABLE flex RENAME a TO a2" : "ALTER TABLE flex RENAME a2 TO a"),
];

function fillFlex(client: pg.ClientBase, random: Random, column: "c" | "d"): Promise<unknown> {
  return client.query(`UPDATE flex SET ${column} = $1 WHERE id < $2`, [String(below(random, 99)), below(random, 60)]);
}

export interface WriterOptions {
  readonly url: string;
  /** Awaited before every transaction: holds the writers back while a moment of silence is needed. */
  readonly turn: () => Promise<void>;
  readonly seed: number;
  /** Takes part in the rare things: TRUNCATE, big transactions. */
  readonly rarities: boolean;
  /** Changes columns now and then. */
  readonly schemaChanges: boolean;
  readonly signal: AbortSignal;
}

/** Transactions that were committed; those that changed columns are counted apart, too. */
export interface Written {
  readonly transactions: number;
  readonly schemaChanges: number;
}

/** Writes one transaction after the other until it is told to stop. */
export async function write({ url, turn, seed, rarities, schemaChanges, signal }: WriterOptions): Promise<Written> {
  const random = randomOf(seed);
  const client = new pg.Client({ connectionString: url, application_name: "oracle writer" });
  await client.connect();
  await client.query("SET lock_timeout = '2s'");
  const written = { transactions: 0, schemaChanges: 0 };
  try {
    for (await turn(); !signal.aborted; await turn()) {
      await delay(random.whole(0, MOST_REST_MS));
      const alters = schemaChanges && chance(random, 0.02);
      const isRare = rarities && chance(random, 0.02);
      const work = alters ? random.pick(SCHEMA_CHANGES) : isRare ? random.pick(RARITIES) : steps;
      if (!(await transact(client, random, work))) continue;
      written.transactions += 1;
      if (alters) written.schemaChanges += 1;
    }
  } finally {
    await client.end();
  }
  return written;
}

/**
 * Writes transactions that take their time: most backups begin while one is open, so that their snapshot does not show what the log has from
 * before, and what is committed later than younger transactions that it does show.
 */
export async function writeSlowly({
  url,
  turn,
  seed,
  signal,
}: Pick<WriterOptions, "url" | "turn" | "seed" | "signal">): Promise<Written> {
  const random = randomOf(seed);
  const client = new pg.Client({ connectionString: url, application_name: "oracle writer" });
  await client.connect();
  let committed = 0;
  try {
    for (await turn(); !signal.aborted; await turn()) {
      committed += (await transact(client, random, slowStep)) ? 1 : 0;
    }
  } finally {
    await client.end();
  }
  return { transactions: committed, schemaChanges: 0 };
}

/** Rows of its own, so that nobody waits for it; nothing that could be done twice without a trace. */
async function slowStep(client: pg.ClientBase, random: Random): Promise<void> {
  const owner = account(random);
  await client.query("INSERT INTO clicks SELECT $1, 'slow', 0 FROM generate_series(1, 3)", [owner]);
  await delay(random.whole(0, MOST_PAUSE_MS));
  await client.query("UPDATE clicks SET n = n + 1 WHERE path = 'slow' AND n < 3");
  await client.query(
    "DELETE FROM clicks WHERE ctid = ANY (SELECT ctid FROM clicks WHERE account_id = $1 AND path = 'slow' AND n = 3 LIMIT 2)",
    [owner],
  );
  await client.query("INSERT INTO documents (account_id, title) VALUES ($1, 'slow')", [owner]);
  await client.query("DELETE FROM documents WHERE title = 'slow' AND id % 3 = $1", [below(random, 3)]);
  await delay(random.whole(0, MOST_PAUSE_MS));
}

/** Some steps, of which some are taken back by a savepoint. */
async function steps(client: pg.ClientBase, random: Random): Promise<void> {
  for (let n = below(random, 6); n >= 0; n -= 1) {
    const nested = chance(random, 0.25);
    if (nested) await client.query("SAVEPOINT s");
    await step(random)(client, random);
    if (nested) await client.query(chance(random, 0.5) ? "ROLLBACK TO s" : "RELEASE s");
  }
}

/** Whether it was committed: a tenth is rolled back on purpose, and those that meet another writer must be. */
async function transact(client: pg.ClientBase, random: Random, work: Step): Promise<boolean> {
  await client.query("BEGIN");
  try {
    await work(client, random);
    const keep = chance(random, 0.9);
    await client.query(keep ? "COMMIT" : "ROLLBACK");
    return keep;
  } catch (error) {
    await client.query("ROLLBACK");
    if (error instanceof pg.DatabaseError && COLLISIONS.has(error.code ?? "")) return false;
    throw error;
  }
}
