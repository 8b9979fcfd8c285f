import { createHmac, timingSafeEqual } from "node:crypto";

const COOKIE = "rowback_admin";
/** A board left open on somebody's screen must not stay usable for the day. */
const LIFETIME_SECONDS = 15 * 60;

/**
 * A browser can't send an Authorization header with a page load, so an operator exchanges the token once for this
 * cookie: `<user>.<expiry>.<HMAC-SHA-256>`, for /admin alone, unreadable to scripts, never sent along from another site.
 */
export function adminSessionCookie(userId: string, secret: string, now: Date, secure: boolean): string {
  const payload = `${Buffer.from(userId).toString("base64url")}.${Math.floor(now.getTime() / 1000) + LIFETIME_SECONDS}`;
  const attributes = `Path=/admin; Max-Age=${LIFETIME_SECONDS}; HttpOnly; SameSite=Strict${secure ? "; Secure" : ""}`;
  return `${COOKIE}=${payload}.${sign(payload, secret)}; ${attributes}`;
}

/** The user of a valid, unexpired session cookie; else null. */
export function adminSessionUser(cookieHeader: string | undefined, secret: string, now: Date): string | null {
  const value = (cookieHeader ?? "")
    .split(";")
    .map((pair) => pair.trim())
    .find((pair) => pair.startsWith(`${COOKIE}=`))
    ?.slice(COOKIE.length + 1);
  const [user, expiry, signature] = (value ?? "").split(".");
  if (user === undefined || expiry === undefined || signature === undefined) return null;
  if (!equal(signature, sign(`${user}.${expiry}`, secret))) return null;
  return Number(expiry) * 1000 > now.getTime() ? Buffer.from(user, "base64url").toString() : null;
}

function sign(payload: string, secret: string): string {
  // A label of its own: a signature made here can never pass for one that the same secret makes elsewhere.
  return createHmac("sha256", secret).update(`rowback admin session\n${payload}`).digest("base64url");
}

function equal(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}
