import { temporaryFolder } from "../process/folders.ts";
import { onScopeEnd } from "./cleanup.ts";

/** The path of a fresh, empty folder, removed when the test (or, called outside a test, the file) ends. */
export function testFolder(): string {
  const folder = temporaryFolder("test");
  onScopeEnd(() => folder.remove());
  return folder.path;
}
