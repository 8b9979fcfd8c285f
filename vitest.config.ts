import { defineConfig } from "vitest/config";

const TESTS = ["apps", "packages", "infra", "bench"].map((folder) => `${folder}/**/*.test.ts`);
const INTEGRATION_TESTS = TESTS.map((pattern) => pattern.replace("*.test.ts", "*.integration.test.ts"));

export default defineConfig({
  test: {
    maxWorkers: 2,
    reporters: ["default", "./infra/vitest/count-reporter.ts"],
    teardownTimeout: 30_000,
    projects: [
      {
        test: {
          name: "unit",
          include: TESTS,
          exclude: ["**/node_modules/**", ...INTEGRATION_TESTS],
          // Tests without servers share nothing but modules; loading those anew for every file took more than half of the time.
          isolate: false,
          restoreMocks: true,
          testTimeout: 10_000,
        },
      },
      {
        test: {
          name: "integration",
          include: INTEGRATION_TESTS,
          globalSetup: "packages/local-services/src/testing/global-setup.ts",
          setupFiles: "packages/local-services/src/testing/setup-file.ts",
          // Real servers on two shared cores: a slow test is a slow machine far more often than a hang.
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
