// The architecture, as rules that fail in seconds: DESIGN §3, docs/ARCHITECTURE.md.
const noSibling = (name, allowed) => ({
  name: `${name}-imports-${allowed.length === 0 ? "no-sibling" : `only-${allowed.join("-and-")}`}`,
  severity: "error",
  from: { path: `^packages/${name}/src`, pathNot: "\\.test\\.ts$|/testing/" },
  to: { path: "^(packages|apps)/", pathNot: `^packages/(${[name, ...allowed].join("|")})/` },
});

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    { name: "no-cycle", severity: "error", from: {}, to: { circular: true } },
    noSibling("storage", []),
    noSibling("db", []),
    noSibling("jobs", []),
    noSibling("local-services", []),
    noSibling("recovery", ["db", "storage"]),
    {
      name: "api-imports-only-pure-plans-of-recovery",
      severity: "error",
      from: { path: "^apps/api/src", pathNot: "\\.test\\.ts$|/testing/" },
      to: {
        path: "^(packages|apps)/",
        pathNot: "^(apps/api/|packages/(db|jobs|storage)/|packages/recovery/src/(errors|plans)\\.ts$)",
      },
    },
    {
      name: "recovery-plans-are-pure",
      comment: "What the API may import must not be able to reach a database, a store or a socket.",
      severity: "error",
      from: { path: "^packages/recovery/src/plans\\.ts$" },
      to: {
        reachable: true,
        path: "^(node:)?(fs|net|http|https|child_process|worker_threads)|node_modules/(pg|pg-copy-streams)/|^packages/(db|storage)/",
      },
    },
    {
      name: "worker-knows-no-other-app",
      severity: "error",
      from: { path: "^apps/worker/src" },
      to: { path: "^apps/", pathNot: "^apps/worker/" },
    },
    {
      name: "no-test-code-in-production",
      severity: "error",
      from: {
        path: "^(apps|packages)/",
        pathNot: "\\.test\\.ts$|/testing/|conformance\\.ts$|^packages/local-services/",
      },
      to: { path: "\\.test\\.ts$|/testing/|^packages/local-services/" },
    },
    {
      name: "not-to-undeclared",
      severity: "error",
      from: { path: "^(apps|packages)/" },
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown", "unknown", "undetermined"], couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules/(?!@rowback)" },
    parser: "swc",
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default"] },
  },
};
