import { expect, test } from "vitest";
import { adminSessionCookie, adminSessionUser } from "./admin-session.ts";

const SECRET = Buffer.alloc(32, "s");
const NOW = new Date("2026-01-01T00:00:00Z");
const cookie = adminSessionCookie("olga@example.com", SECRET, NOW, true);

test("a session names its user until it ends", () => {
  const later = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000);
  expect(adminSessionUser(`other=1; ${cookie}`, SECRET, later(899))).toBe("olga@example.com");
  expect(adminSessionUser(cookie, SECRET, later(900))).toBeNull();
});

test("the cookie is out of reach of scripts and of other sites", () => {
  expect(cookie).toMatch(/; Path=\/admin; Max-Age=900; HttpOnly; SameSite=Strict; Secure$/);
});

test.each([
  ["another key", cookie, Buffer.alloc(32, "t")],
  ["a longer life", cookie.replace(/\.(\d+)\./, (_, expiry: string) => `.${Number(expiry) + 1}.`), SECRET],
  ["another user", cookie.replace(/=[^.]+\./, `=${Buffer.from("eve").toString("base64url")}.`), SECRET],
  ["no cookie", undefined, SECRET],
  ["half a cookie", "rowback_admin=abc", SECRET],
])("%s is nobody", (_, header, secret) => {
  expect(adminSessionUser(header, secret, NOW)).toBeNull();
});
