import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const BIN = join(ROOT, "node_modules", ".bin");
export const NODE = join(BIN, "node");

function read(path) {
  return JSON.parse(readFileSync(join(ROOT, path), "utf8"));
}

/** The first package whose installed version isn't the locked one, or null when all are. */
function firstDifference() {
  if (!existsSync(join(ROOT, "node_modules", ".package-lock.json"))) return "node_modules";
  const locked = read("package-lock.json").packages;
  const installed = read("node_modules/.package-lock.json").packages;
  for (const [path, entry] of Object.entries(locked)) {
    // The workspace itself; packages for other systems; what only optional packages need.
    if (!path.startsWith("node_modules/") || entry.optional || entry.devOptional) continue;
    if (installed[path] === undefined || installed[path].version !== entry.version) return path;
    if (entry.link && !existsSync(join(ROOT, path))) return path;
  }
  return null;
}

function installPackages(reason) {
  console.error(`Installing packages (${reason} is missing or not the locked version) …`);
  const started = Date.now();
  // Standard output belongs to the task.
  const npm = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: ROOT,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (npm.error) throw npm.error;
  if (npm.status !== 0) throw new Error(`npm ci failed with exit code ${npm.status}`);
  console.error(`Packages installed in ${Math.round((Date.now() - started) / 1000)} s.`);
}

function nodeVersion() {
  try {
    return execFileSync(NODE, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .trim()
      .slice(1);
  } catch {
    return null;
  }
}

/** The package `node` fetches its program in an install script; where npm was told to run none, this runs that one. */
function provideNode() {
  const wanted = read("package.json").devDependencies.node;
  if (nodeVersion() === wanted) return;
  console.error(`Fetching node ${wanted} …`);
  spawnSync(process.execPath, ["installArchSpecificPackage.js"], {
    cwd: join(ROOT, "node_modules", "node"),
    stdio: ["ignore", 2, 2],
    env: { ...process.env, PATH: `${process.env.PATH ?? ""}${delimiter}${BIN}` },
  });
  const version = nodeVersion();
  if (version !== wanted) {
    throw new Error(
      `node ${wanted} could not be installed (node_modules/.bin/node is ${version ?? "missing"}): npm rebuild node`,
    );
  }
}

/** Makes node_modules what package-lock.json says. Takes a few milliseconds when it is. */
export async function install() {
  const difference = firstDifference();
  if (difference !== null) installPackages(difference);
  provideNode();
}
