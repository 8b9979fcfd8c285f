import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

const COOKIE = "rowback_admin";
/** A board left open on somebody's screen must not stay usable for the day. */
const LIFETIME_SECONDS = 15 * 60;

/**
 * A browser can't send an Authorization header with a page load, so an operator exchanges the token once for this
 * cookie: `<user>.<expiry>.<HMAC-SHA-256>`, for /admin alone, unreadable to scripts, never sent along from another site.
 */
export function adminSessionCookie(userId: string, secretKey: Buffer, now: Date, secure: boolean): string {
  const payload = `${Buffer.from(userId).toString("base64url")}.${Math.floor(now.getTime() / 1000) + LIFETIME_SECONDS}`;
  const attributes = `Path=/admin; Max-Age=${LIFETIME_SECONDS}; HttpOnly; SameSite=Strict${secure ? "; Secure" : ""}`;
  return `${COOKIE}=${payload}.${sign(payload, secretKey)}; ${attributes}`;
}

/** The user of a valid, unexpired session cookie; else null. */
export function adminSessionUser(cookieHeader: string | undefined, secretKey: Buffer, now: Date): string | null {
  const value = (cookieHeader ?? "")
    .split(";")
    .map((pair) => pair.trim())
    .find((pair) => pair.startsWith(`${COOKIE}=`))
    ?.slice(COOKIE.length + 1);
  const [user, expiry, signature] = (value ?? "").split(".");
  if (user === undefined || expiry === undefined || signature === undefined) return null;
  if (!equal(signature, sign(`${user}.${expiry}`, secretKey))) return null;
  return Number(expiry) * 1000 > now.getTime() ? Buffer.from(user, "base64url").toString() : null;
}

function sign(payload: string, secretKey: Buffer): string {
  // A key of its own (RFC 5869): what is made here can never pass for something that the same key makes elsewhere.
  const key = new Uint8Array(hkdfSync("sha256", secretKey, "", "rowback admin session", 32));
  return createHmac("sha256", key).update(payload).digest("base64url");
}

function equal(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}
