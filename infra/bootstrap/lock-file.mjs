/** Dependencies, optional ones included, that packages of the lock file name and that have no entry of their own in it. */
export function missingEntries(lock) {
  const missing = new Map();
  for (const [parent, entry] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries({ ...entry.dependencies, ...entry.optionalDependencies })) {
      if (!resolves(lock.packages, parent, name)) missing.set(name, { name, version, parent });
    }
  }
  return [...missing.values()];
}

/** As node looks for it: in the node_modules of the package, then of each folder above. */
function resolves(packages, parent, name) {
  for (let folder = parent; ; folder = folder.slice(0, Math.max(folder.lastIndexOf("/"), 0))) {
    if (packages[`${folder === "" ? "" : `${folder}/`}node_modules/${name}`] !== undefined) return true;
    if (folder === "") return false;
  }
}
