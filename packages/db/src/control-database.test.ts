import { expect, test } from "vitest";
import { withRole } from "./control-database.ts";

test("the role is added to a URL's startup options, and those it has stay", () => {
  expect(new URL(withRole("postgres://u:p%40ss@h:5432/db?sslmode=require", "r")).searchParams.get("options")).toBe(
    "-c role=r",
  );
  const both = new URL(withRole("postgres://u@h/db?options=-c%20search_path%3Dx", "r"));
  expect(both.searchParams.get("options")).toBe("-c search_path=x -c role=r");
});
