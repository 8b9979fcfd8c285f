import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { testFolder } from "@rowback/local-services/testing";
import { describeObjectStore } from "../conformance.ts";
import { openFilesystemStore } from "./filesystem.ts";

describeObjectStore("the filesystem driver", async () => {
  const root = testFolder();
  return {
    store: openFilesystemStore({ root }),
    leftovers: () => readdir(join(root, ".rowback", "tmp")).catch(() => []),
  };
});
