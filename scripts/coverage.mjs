// Prints how many statements of each package below internal/ its own tests run.
//
// Usage: node scripts/coverage.mjs [--json] [package ...]     (paths below internal/, or last names; none: all)
//
// A package that only the tests of others run has a small figure here: that says what to do, not that it is untested. Packages
// without any test are in the table with 0.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const root = resolve(dirname(new URL(import.meta.url).pathname), '..');
const args = process.argv.slice(2);
const json = args.includes('--json');
const names = args.filter((a) => a !== '--json');
if (names.some((n) => n.startsWith('-'))) {
  console.error('usage: node scripts/coverage.mjs [--json] [package ...]');
  process.exit(2);
}
const work = mkdtempSync(join(tmpdir(), 'coverage-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

const profile = join(work, 'profile');
const all = spawnSync('go', ['list', './internal/...'], { cwd: root, encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
function found(name) {
  const at = all.filter((p) => p === `vitalseal/internal/${name}` || p.endsWith(`/${name}`));
  if (at.length !== 1) {
    console.error(`coverage: ${at.length} packages below internal/ are named ${name}${at.length > 1 ? `: ${at.join(', ')}` : ''}`);
    process.exit(2);
  }
  return at[0];
}
const packages = names.length > 0 ? names.map(found) : ['./internal/...'];
const run = spawnSync('go', ['test', '-timeout', '30m', `-coverprofile=${profile}`, ...packages], { cwd: root, encoding: 'utf8', maxBuffer: 256 << 20 });
if (run.status !== 0) {
  console.error(`${run.stdout}${run.stderr}\ncoverage: tests failed, so there are no figures`);
  process.exit(1);
}

// A line of the profile: vitalseal/internal/way/seal/key.go:26.23,30.2 3 1 (statements, and how often they ran).
const blocks = new Map();
for (const line of readFileSync(profile, 'utf8').split('\n').slice(1).filter(Boolean)) {
  const [place, statements, count] = line.split(' ');
  const ran = Number(count) > 0 || blocks.get(place)?.ran;
  blocks.set(place, { statements: Number(statements), ran });
}
const table = new Map();
for (const [place, b] of blocks) {
  const name = dirname(place.slice(0, place.lastIndexOf(':'))).replace(/^vitalseal\/internal\//, '');
  const row = table.get(name) ?? { package: name, statements: 0, covered: 0 };
  row.statements += b.statements;
  if (b.ran) row.covered += b.statements;
  table.set(name, row);
}
const rows = [...table.values()].map((r) => ({ ...r, covered_percent: Math.round((1000 * r.covered) / r.statements) / 10 }))
  .sort((a, b) => a.package.localeCompare(b.package));
if (rows.length === 0) {
  console.error('coverage: the profile is empty');
  process.exit(1);
}
if (json) console.log(JSON.stringify({ packages: rows }, null, 2));
else {
  console.log(`${'package'.padEnd(28)}${'statements'.padStart(12)}${'covered'.padStart(10)}`);
  for (const r of rows) console.log(`${r.package.padEnd(28)}${String(r.statements).padStart(12)}${`${r.covered_percent.toFixed(1)} %`.padStart(10)}`);
  const sum = (f) => rows.reduce((n, r) => n + r[f], 0);
  console.log(`${'all'.padEnd(28)}${String(sum('statements')).padStart(12)}${`${((100 * sum('covered')) / sum('statements')).toFixed(1)} %`.padStart(10)}`);
}
