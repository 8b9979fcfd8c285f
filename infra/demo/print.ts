import { styleText } from "node:util";

/** One step of the story. */
export function heading(text: string): void {
  console.log(`\n${styleText("bold", text)}`);
}

export function line(text: string): void {
  console.log(`  ${text}`);
}

/** Rows in aligned columns; numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => String(row[column] ?? "").length)),
  );
  const print = (row: readonly (string | number)[]): void => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return typeof cell === "number" ? String(cell).padStart(width) : cell.padEnd(width);
    });
    line(cells.join("  ").trimEnd());
  };
  print(head);
  line(widths.map((width) => "─".repeat(width)).join("──"));
  for (const row of rows) print(row);
}

/** A bar that is drawn over itself on a terminal, and once at its end elsewhere. */
export function progressBar(label: string): (share: number) => void {
  let ended = false;
  return (share) => {
    if (ended || (!process.stdout.isTTY && share < 1)) return;
    ended = share >= 1;
    const filled = Math.round(share * 30);
    const bar = `  ${label} ${"█".repeat(filled)}${"░".repeat(30 - filled)} ${String(Math.round(share * 100)).padStart(3)} %`;
    process.stdout.write(process.stdout.isTTY ? `\r${bar}${ended ? "\n" : ""}` : `${bar}\n`);
  };
}

export function check(truth: boolean, text: string): void {
  line(`${truth ? styleText("green", "✔") : styleText("red", "✘")} ${text}`);
  if (!truth) throw new Error(`the proof failed: ${text}`);
}
