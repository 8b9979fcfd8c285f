import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { addOperator, migrate, openControlDatabase } from "@rowback/db";
import { redisContent, testDatabase, testFolder, testRedis, testRole } from "@rowback/local-services/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import type { TokenSettings } from "./auth/token-settings.ts";
import { everyObject } from "./testing/every-object.ts";
import { signedToken } from "./testing/test-api.ts";

// DESIGN §5.10. The whole system as real processes, logging all it can; secrets are planted wherever a user, an operator or
// a customer's row could carry one, things are made to go well and to fail, and then everything that was written or
// answered is searched.

const plant = (what: string): string => `planted-${what}-${randomBytes(9).toString("hex")}`;

/** Values in a customer's rows, each of which some failure could quote. */
const ROWS = { body: plant("body"), email: plant("email"), raised: plant("raised"), checked: plant("checked") };

const SOURCE = `
CREATE SCHEMA app;
CREATE TABLE app.tenants (id text PRIMARY KEY);
CREATE TABLE app.countries (name text PRIMARY KEY);
CREATE TABLE app.people (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES app.tenants, email text UNIQUE,
  country text REFERENCES app.countries, body text CONSTRAINT body_is_short CHECK (length(body) < 1000));
INSERT INTO app.tenants VALUES ('acme'), ('other');
INSERT INTO app.countries VALUES ('${ROWS.raised}');
INSERT INTO app.people SELECT n, 'acme', n || '${ROWS.email}', '${ROWS.raised}', '${ROWS.body}' FROM generate_series(1, 50) n;
INSERT INTO app.people VALUES (99, 'acme', '${ROWS.checked}', NULL, 'x');
CREATE FUNCTION app.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN RAISE EXCEPTION 'no % here, nor %', NEW.body, NEW.email USING DETAIL = NEW.country; END $$;
`;

const Answer = z.looseObject({ status: z.union([z.string(), z.number()]).optional(), id: z.string().optional() });

test("no secret and no customer's value is in a log, an error, Redis, the control database, the audit log or a stored object", async () => {
  const source = await testDatabase("planted-source");
  await source.pool.query(SOURCE);
  const role = await testRole(source);
  await source.pool.query(`GRANT USAGE ON SCHEMA app TO ${role.name};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO ${role.name}`);
  const control = await testDatabase("planted-control");
  await migrate(control.url);
  const db = openControlDatabase({ url: control.url, maxConnections: 1, applicationName: "planted" });
  await addOperator(db.system, "olga").finally(() => db.close());

  const redis = testRedis();
  const store = testFolder();
  const jwtSecret = plant("jwt-secret-of-32-characters");
  const keys = { seal: randomBytes(32), master: randomBytes(32) };
  const environment = {
    PATH: "",
    LOG_LEVEL: "trace",
    DATABASE_URL: control.url,
    REDIS_URL: redis.url,
    QUEUE_PREFIX: redis.prefix,
    STORE: `file://${store}`,
    JWT_SECRET: jwtSecret,
    ROWBACK_SECRET_KEY: keys.seal.toString("base64"),
    ROWBACK_MASTER_KEY: keys.master.toString("base64"),
    PORT: "0",
    METRICS_PORT: "0",
  };
  const api = start("../../api/src/main.ts", environment);
  const worker = start("../../worker/src/main.ts", environment);
  const base = await vi.waitFor(
    () => {
      const found = /listening at (http:[^"]*)/.exec(api.output())?.[1];
      expect(found, api.output()).toBeDefined();
      return found ?? "";
    },
    { timeout: 90_000, interval: 50 },
  );

  const tokens: TokenSettings = {
    kind: "secret",
    secret: jwtSecret,
    issuer: null,
    audience: [],
    clockToleranceSeconds: 0,
  };
  const token = (sub: string, seconds = 3600): string =>
    signedToken(tokens, { sub, exp: Math.floor(Date.now() / 1000) + seconds });
  const bearers = {
    operator: token("olga"),
    owner: token("ann"),
    expired: token("ann", -60),
    stranger: plant("token"),
  };
  const refusals: string[] = [];
  const call = async (
    bearer: string,
    method: string,
    path: string,
    body?: unknown,
    seconds = 40,
  ): Promise<z.infer<typeof Answer>> => {
    const response = await fetch(base + path, {
      method,
      headers: {
        authorization: `Bearer ${bearer}`,
        prefer: `wait=${seconds}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.status >= 400) refusals.push(`${method} ${path.split("?")[0]} ${response.status} ${text}`);
    return text === "" ? {} : Answer.parse(JSON.parse(text));
  };
  const { operator, owner } = bearers;

  // What goes well.
  const made = await call(operator, "POST", "/v1/sources", {
    name: "app",
    connection: role.url,
    tenancy: { mode: "column", column: "tenant_id" },
    encryption: true,
  });
  expect(made.id, refusals.join("\n")).toBeDefined();
  const discovered = await call(operator, "POST", `/v1/sources/${made.id}/discovery`);
  expect(discovered.status, refusals.join("\n")).toBe("succeeded");
  const tenant = await call(operator, "POST", "/v1/tenants", { sourceId: made.id, key: "acme", name: "Acme" });
  await call(operator, "POST", `/v1/tenants/${tenant.id}/members`, { userId: "ann", role: "owner" });
  const apiKey = z
    .object({ key: z.string() })
    .parse(
      await call(owner, "POST", "/v1/api-keys", { name: "nightly", scopes: ["backup:create", "backup:read"] }),
    ).key;
  const backup = await call(apiKey, "POST", "/v1/backups", {});
  expect(backup.status, refusals.join("\n")).toBe("succeeded");
  await call(owner, "POST", `/v1/backups/${backup.id}/verify`);

  // What fails on a customer's row: a trigger, a unique value, a row of nobody's that is gone.
  const preview = async () => call(owner, "POST", "/v1/restores/preview", { backupId: backup.id, triggers: "fire" });
  const apply = async () => {
    const { id, result } = z
      .looseObject({ id: z.string(), result: z.looseObject({ digest: z.string() }) })
      .parse(await preview());
    return call(owner, "POST", "/v1/restores", { previewId: id, planDigest: result.digest }, 15);
  };
  await source.pool.query("DELETE FROM app.people WHERE id <= 10");
  await source.pool.query(
    "CREATE TRIGGER refuse BEFORE INSERT ON app.people FOR EACH ROW EXECUTE FUNCTION app.refuse()",
  );
  await apply();
  await source.pool.query("DROP TRIGGER refuse ON app.people");
  await source.pool.query(`INSERT INTO app.people VALUES (1000, 'other', '1${ROWS.email}')`);
  await apply().catch(() => {});
  await source.pool.query("DELETE FROM app.people WHERE id = 1000; UPDATE app.people SET country = NULL");
  await source.pool.query("DELETE FROM app.countries");
  await apply().catch(() => {});
  await source.pool.query(`ALTER TABLE app.people DROP CONSTRAINT body_is_short;
    UPDATE app.people SET body = 'y' WHERE id > 10;
    ALTER TABLE app.people ADD CONSTRAINT body_is_short CHECK (body <> '${ROWS.body}') NOT VALID;
    INSERT INTO app.countries VALUES ('${ROWS.raised}')`);
  await apply().catch(() => {});

  // What fails on a credential.
  const passwords = [new URL(role.url).password];
  for (const [part, value] of [
    ["port", "1"],
    ["username", "nobody"],
    ["pathname", "/nowhere"],
    ["search", "?sslmode=require"],
  ] as const) {
    const url = new URL(role.url);
    url.password = plant("password");
    url[part] = value;
    passwords.push(url.password);
    await call(operator, "PATCH", `/v1/sources/${made.id}`, { connection: url.href });
    // Long enough for its first attempt; the next ones come minutes later.
    await call(operator, "POST", `/v1/sources/${made.id}/discovery`, undefined, 4);
  }

  // What is wrong with a request.
  const inText = plant("password");
  passwords.push(inText);
  const url = `postgres://app:${inText}@db.example.com/app`;
  await call(operator, "POST", "/v1/sources", `{"connection": "${url}" "name"`);
  await call(operator, "POST", "/v1/sources", { name: url, connection: `${url}\0`, tenancy: url, [url]: 1 });
  await call(operator, "POST", "/v1/sources", {
    name: "x",
    connection: url.replace("postgres:", "mysql:"),
    tenancy: {},
  });
  await call(bearers.expired, "GET", `/v1/backups?token=${owner}&connection=${encodeURIComponent(url)}`);
  await call(bearers.stranger, "GET", "/v1/backups");
  await call(`${apiKey}x`, "GET", "/v1/backups");
  await call(owner, "POST", "/v1/restores/preview", {
    backupId: backup.id,
    keys: [{ table: "app.nowhere", keys: [[ROWS.body]] }],
  });

  const inRedis = await redisContent(redis);
  expect(await stopped(api)).toBe(0);
  expect(await stopped(worker)).toBe(0);

  const credentials = [
    jwtSecret,
    ...Object.values(keys).flatMap((key) => [key.toString("base64"), key.toString("hex")]),
    ...Object.values(bearers),
    apiKey,
    ...passwords,
  ];
  const values = Object.values(ROWS);
  const controlRows = await everyRow(control);
  const errors = await column(control, "SELECT error::text AS text FROM runs WHERE error IS NOT NULL");
  const audited = await column(control, "SELECT row_to_json(a)::text AS text FROM audit_log a");
  const objects = await everyObject(store);
  const searched: [string, string, readonly string[]][] = [
    ["the API's log", api.output(), [...credentials, ...values]],
    ["the worker's log", worker.output(), [...credentials, ...values]],
    ["an answer that refuses", refusals.join("\n"), [...credentials, ...values]],
    ["Redis", inRedis, [...credentials, ...values]],
    ["a run's error", errors, [...credentials, ...values]],
    ["the audit log", audited, [...credentials, ...values]],
    ["a stored object", objects, [...credentials, ...values]],
    // A preview shows rows to who may see them: that is what it is for.
    ["the control database", controlRows, credentials],
  ];
  for (const [where, text, secrets] of searched) {
    const lines = text.split("\n").filter((line) => secrets.some((secret) => line.includes(secret)));
    expect(lines, where).toEqual([]);
  }
  // No stack leaves either.
  expect(refusals.join("\n")).not.toMatch(/\n\s+at |node:internal|\.ts:\d/);
  // What was searched is what was written.
  for (const [where, text] of searched.filter(([name]) => !/stored|a run's/.test(name)))
    expect([where, text.includes(backup.id ?? "?") || text.includes(made.id ?? "?")]).toEqual([where, true]);
  const codes = errors.split("\n").map((error) => z.object({ code: z.string() }).parse(JSON.parse(error)).code);
  expect(new Set(codes).size, codes.join(" ")).toBeGreaterThan(3);
  expect(objects.length).toBeGreaterThan(1_000);
  expect(refusals.length).toBeGreaterThan(10);
}, 240_000);

interface Program {
  readonly child: ChildProcess;
  output(): string;
}

function start(script: string, env: NodeJS.ProcessEnv): Program {
  const main = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, [main], { env, stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  return { child, output: () => output };
}

async function stopped({ child }: Program): Promise<number> {
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  return z
    .tuple([z.int()])
    .rest(z.unknown())
    .parse(await exited)[0];
}

type Database = Awaited<ReturnType<typeof testDatabase>>;

async function column({ pool }: Database, text: string): Promise<string> {
  return (await pool.query<{ text: string }>(text)).rows.map((row) => row.text).join("\n");
}

async function everyRow(database: Database): Promise<string> {
  const tables = await database.pool.query<{ name: string }>(
    "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace",
  );
  const rows: string[] = [];
  for (const { name } of tables.rows) rows.push(await column(database, `SELECT t::text AS text FROM ${name} AS t`));
  return rows.join("\n");
}
