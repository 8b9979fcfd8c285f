import { hostname, userInfo } from "node:os";

/** Who did what was asked for by a command, next to the database, where no token says who it is. */
export const COMMAND_LINE_USER = "rowback:command-line";

/** What is known of the person at the command line. It is what that machine says of itself; the database adds the address it was called from. */
export interface CommandLineAuthor {
  readonly host: string;
  /** Of the operating system. */
  readonly systemUser: string;
}

/** Whoever runs this process. */
export function commandLineAuthor(): CommandLineAuthor {
  return { host: hostname(), systemUser: systemUser() };
}

function systemUser(): string {
  try {
    return userInfo().username;
  } catch {
    // A container's number with no line in /etc/passwd has no name.
    return `uid ${process.getuid?.() ?? "unknown"}`;
  }
}
