// Loaded before every integration test file: hooks registered first run last.
import { afterAll } from "vitest";
import { cleanUpFile } from "./cleanup.ts";

afterAll(cleanUpFile);
