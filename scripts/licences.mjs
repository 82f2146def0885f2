// Fails when a dependency's licence is unknown or not one that an Apache-2.0 binary may carry.
// Usage: node scripts/licences.mjs bin/sbom.cdx.json web/package-lock.json
import { readFileSync } from 'node:fs';

const allowed = new Set(['Apache-2.0', 'MIT', 'MIT-0', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'ISC', 'Unlicense', 'CC0-1.0',
  'Zlib', 'MPL-2.0', 'BlueOak-1.0.0', 'Python-2.0', 'CC-BY-4.0', 'BSL-1.0']);

// Modules whose licence the scanner cannot name, or names wrongly; each was read by a person.
const read = {
  'github.com/dgryski/dgoogauth': 'Apache-2.0', // README
  'github.com/hashicorp/go-metrics': 'MIT',
  'github.com/rcrowley/go-metrics': 'BSD-2-Clause',
};
// The Go project's own modules: BSD-3-Clause with a newer copyright line, which the scanner takes for something else.
for (const m of ['crypto', 'exp', 'image', 'mod', 'net', 'oauth2', 'sync', 'sys', 'term', 'text', 'tools', 'time']) read[`golang.org/x/${m}`] = 'BSD-3-Clause';

const [sbomPath, lockPath] = process.argv.slice(2);
const bad = [];
const count = {};

function check(name, version, licences) {
  const known = read[name] ? [read[name]] : licences;
  // "A OR B" leaves the choice to us; of several names found in one module all must be fine.
  const ok = known.length > 0 && known.every((l) => l.replace(/[()]/g, '').split(' OR ').some((x) => allowed.has(x.trim())));
  if (!ok) bad.push(`${name} ${version}: ${known.join(', ') || 'no licence found'}`);
  for (const l of known) count[l] = (count[l] ?? 0) + 1;
}

const sbom = JSON.parse(readFileSync(sbomPath, 'utf8'));
for (const c of sbom.components ?? []) {
  const found = [...(c.licenses ?? []), ...(c.evidence?.licenses ?? [])];
  check(c.name, c.version, [...new Set(found.map((l) => l.license?.id ?? l.license?.name ?? l.expression))]);
}
const lock = JSON.parse(readFileSync(lockPath, 'utf8'));
for (const [path, p] of Object.entries(lock.packages)) {
  // The build tools run on the developer's machine; only what reaches the browser is distributed.
  if (path && !p.dev) check(path.replace(/^.*node_modules\//, ''), p.version, p.license ? [p.license] : []);
}

const total = Object.values(count).reduce((a, b) => a + b, 0);
console.log(`licences: ${total} named in ${sbom.components?.length ?? 0} Go modules and the front end: ` +
  Object.entries(count).sort((a, b) => b[1] - a[1]).map(([l, n]) => `${l} ${n}`).join(', '));
if (bad.length) {
  console.error(`not allowed or unknown:\n  ${bad.join('\n  ')}`);
  process.exit(1);
}
