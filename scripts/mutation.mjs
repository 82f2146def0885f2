// Mutation testing with gremlins (tools/mutation): how many small changes of the code do a package's own tests notice?
//
// Usage: node scripts/mutation.mjs [--sample 200] [--seed 1] [--json FILE] seal delivery ...
//
// The score is killed / all viable mutants. A mutant in code that no test runs counts as survived. Tests that take ten times
// their usual time of the processor do not end, and count as killed; how busy the machine is does not matter. Of a package with
// more mutants than --sample, whole lines are drawn by the seed until they hold that many; --sample 0 takes all. The work
// happens in a copy of the module, so the working tree is never changed. WORKERS=2 tries two mutants at once.
//
// gremlins 0.6 needs help, given by a `go` and a `git` of our own in front of it on the PATH:
//  - `go test` exits with 1 both when a test fails and when nothing compiles, and gremlins counts 1 as killed. Our `go` compiles
//    first, and exits with 2 (not viable) when that fails.
//  - It takes how long the tests ran for the coverage, even if that came out of the cache, as the measure of a timeout.
//    Our `go` bounds processor time instead.
//  - It takes constants and tables outside of functions for not covered. Our `go` adds their lines to the coverage.
//  - It has no sample. It has --diff, which leaves out all lines that `git diff` does not show: ours shows the drawn ones.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';

const options = { sample: '200', seed: '1', json: '' };
const packages = [];
for (let args = process.argv.slice(2); args.length > 0;) {
  const a = args.shift();
  if (!a.startsWith('--')) packages.push(a);
  else if (a.slice(2) in options && args.length > 0) options[a.slice(2)] = args.shift();
  else fail(`unknown or incomplete option ${a}`);
}
const sample = Number(options.sample);
const seed = Number(options.seed);
if (!Number.isInteger(sample) || sample < 0 || !Number.isInteger(seed)) fail('--sample and --seed take whole numbers');
if (packages.length === 0) fail('name at least one package below internal/');

const root = resolve(dirname(new URL(import.meta.url).pathname), '..');
const gremlins = join(root, 'bin/tools/gremlins');
if (!existsSync(gremlins)) fail(`${gremlins} is missing: run make mutation, which builds it`);

const work = mkdtempSync(join(tmpdir(), 'mutation-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));
for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => process.exit(130));

const copy = join(work, 'module');
const folders = new Map();
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '--', 'go.mod', 'go.sum', 'internal', 'doc'], { cwd: root, encoding: 'utf8' });
for (const f of files.split('\n').filter((f) => f && existsSync(join(root, f)) && statSync(join(root, f)).isFile())) {
  mkdirSync(dirname(join(copy, f)), { recursive: true });
  copyFileSync(join(root, f), join(copy, f));
  if (f.startsWith('internal/') && f.endsWith('.go') && !f.includes('/_')) folders.set(basename(dirname(f)), [...(folders.get(basename(dirname(f))) ?? []), dirname(f)]);
}
// A package is named by its path below internal/ or, wherever it stands, by its last name.
function folder(name) {
  const full = join('internal', name);
  if (existsSync(join(copy, full))) return full;
  const found = new Set(folders.get(name));
  if (found.size !== 1) fail(`${name}: ${found.size} packages below internal/ have this name`);
  return [...found][0];
}
packages.forEach(folder);

const shims = join(work, 'shims');
mkdirSync(shims);
const go = execFileSync('sh', ['-c', 'command -v go'], { encoding: 'utf8' }).trim();
writeFileSync(join(shims, 'go'), `#!/bin/sh
case " $* " in
*" -failfast "*) # the run of a mutant: go test [-tags T] -timeout T -failfast PACKAGE, in the package's folder
	for package; do :; done # the last word
	${go} test -c -vet=off -o ./mutant.test "$package" >/dev/null 2>&1 || exit 2
	ulimit -t "$CPU_SECONDS"
	./mutant.test -test.failfast -test.timeout "$WALL_SECONDS"s >/dev/null 2>&1 || exit 1
	exit 0
	;;
*" -coverprofile "*)
	while [ "$1" != -coverprofile ]; do set -- "$@" "$1"; shift; done
	profile=$2
	${go} test -cover -coverprofile "$profile" "$PACKAGE" || exit 1
	cat "$OUTSIDE" >>"$profile"
	exit 0
	;;
esac
exec ${go} "$@"
`);
writeFileSync(join(shims, 'git'), `#!/bin/sh\nexec cat "${join(work, 'lines.diff')}"\n`);
for (const s of ['go', 'git']) chmodSync(join(shims, s), 0o755);

const data = process.env.VITALSEAL_DATA ?? join(root, '..', 'shared', 'data');
const env = { ...process.env, PATH: `${shims}:${process.env.PATH}`, VITALSEAL_DATA: data, GOFLAGS: '-trimpath', CGO_ENABLED: '0' };
const report = [];
for (const p of packages) report.push(measure(p));
if (options.json) writeFileSync(options.json, `${JSON.stringify({ seed, sample, packages: report }, null, 2)}\n`);

// baseline runs the tests as they are: how many seconds they take, of the clock and of the processor.
function baseline(name) {
  const test = join(work, 'baseline.test');
  execFileSync(go, ['test', '-c', '-vet=off', '-o', test, `./${folder(name)}`], { cwd: copy, env, stdio: ['ignore', 'ignore', 'inherit'] });
  const run = spawnSync('bash', ['-c', `TIMEFORMAT='TIME %R %U %S'; time ${test} -test.failfast -test.timeout 60m`],
    { cwd: join(copy, folder(name)), env, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (run.status !== 0) fail(`${name}: the tests fail without any mutant:\n${run.stdout}${run.stderr}`);
  const [, wall, user, system] = run.stderr.match(/TIME ([0-9.]+) ([0-9.]+) ([0-9.]+)/).map(Number);
  return { wall, cpu: user + system };
}

// outside is a coverage profile of all lines that are in no function: what is there holds always.
function outside(name) {
  let profile = '';
  for (const f of readdirSync(join(copy, folder(name))).filter((f) => f.endsWith('.go') && !f.endsWith('_test.go'))) {
    let inside = false;
    readFileSync(join(copy, folder(name), f), 'utf8').split('\n').forEach((line, i) => {
      if (/^func /.test(line) && !/}\s*(\/\/.*)?$/.test(line)) inside = true;
      else if (/^}/.test(line)) inside = false;
      else if (!inside && !/^func /.test(line)) profile += `vitalseal/${folder(name)}/${f}:${i + 1}.1,${i + 1}.999 1 1\n`;
    });
  }
  return profile;
}

// measure runs one package's mutants and prints its line of the table and its survivors.
function measure(name) {
  const usual = baseline(name);
  env.CPU_SECONDS = String(Math.ceil(10 * usual.cpu) + 10);
  env.WALL_SECONDS = String(Math.ceil(20 * usual.wall) + 60);
  env.OUTSIDE = join(work, 'outside');
  env.PACKAGE = `./${folder(name)}`;
  writeFileSync(env.OUTSIDE, outside(name));
  const all = unleash(name, ['--dry-run']).filter((m) => m.status === 'RUNNABLE' || m.status === 'NOT COVERED');
  let drawn = all;
  let flags = [];
  if (sample > 0 && all.length > sample) {
    drawn = draw(all);
    writeFileSync(join(work, 'lines.diff'), diffOf(drawn));
    flags = ['--diff', 'drawn'];
  }
  const results = unleash(name, flags).filter((m) => m.status !== 'SKIPPED');
  const of = (...statuses) => results.filter((m) => statuses.includes(m.status));
  const survivors = of('LIVED', 'NOT COVERED');
  const killed = of('KILLED').length;
  const viable = killed + survivors.length;
  if (results.length !== drawn.length || viable === 0) fail(`${name}: ${results.length} results of ${drawn.length} mutants`);
  const line = { package: name, score_percent: Math.round((1000 * killed) / viable) / 10, killed,
    lived: of('LIVED').length, not_covered: of('NOT COVERED').length, not_viable: of('NOT VIABLE').length, drawn: drawn.length, mutants: all.length, survivors };
  console.log(`${name}: ${line.score_percent} % (${killed} killed, ${line.lived} lived, ${line.not_covered} not covered; `
    + `${line.not_viable} not viable; ${drawn.length} of ${all.length} mutants, seed ${seed})`);
  for (const m of survivors) console.log(`  ${m.status.toLowerCase()}: ${folder(name)}/${m.file}:${m.line}:${m.column} ${m.type.toLowerCase()}`);
  return line;
}

// unleash runs gremlins on one package and returns its mutants.
function unleash(name, flags) {
  const out = join(work, 'out.json');
  rmSync(out, { force: true });
  const dir = join(copy, folder(name));
  const quiet = flags.includes('--dry-run'); // else its lines show how far it is: a package takes minutes to hours
  const run = spawnSync(gremlins, ['unleash', dir, '--workers', process.env.WORKERS ?? '1', '--timeout-coefficient', '100000',
    '-E', '_weaken\\.go$', '-o', out, ...flags], { cwd: dir, env, encoding: 'utf8', maxBuffer: 64 << 20, stdio: ['ignore', quiet ? 'pipe' : 2, 2] });
  if (run.status !== 0 || !existsSync(out)) fail(`${name}: gremlins ended with ${run.status}:\n${run.stdout ?? ''}`);
  const mutants = [];
  for (const f of JSON.parse(readFileSync(out, 'utf8')).files ?? []) for (const m of f.mutations) mutants.push({ file: f.file_name, ...m });
  return mutants.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column || a.type.localeCompare(b.type));
}

// draw takes whole lines, in an order that the seed decides, until they hold enough mutants.
function draw(mutants) {
  const lines = new Map();
  for (const m of mutants) lines.set(`${m.file}:${m.line}`, [...(lines.get(`${m.file}:${m.line}`) ?? []), m]);
  const keys = [...lines.keys()];
  let state = seed >>> 0;
  const random = () => { // mulberry32: small, seeded, the same everywhere
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const drawn = [];
  while (drawn.length < sample) {
    const i = Math.floor(random() * keys.length);
    drawn.push(...lines.get(keys[i]));
    keys.splice(i, 1);
  }
  return drawn;
}

// diffOf is a diff whose added lines are those of the mutants.
function diffOf(mutants) {
  const files = new Map();
  for (const m of mutants) files.set(m.file, (files.get(m.file) ?? new Set()).add(m.line));
  let text = '';
  for (const [f, lines] of files) {
    text += `diff --git a/${f} b/${f}\n--- a/${f}\n+++ b/${f}\n`;
    let before = 0;
    for (const line of [...lines].sort((a, b) => a - b)) text += `@@ -${line - 1 - before++},0 +${line} @@\n+x\n`;
  }
  return text;
}

function fail(why) {
  console.error(`mutation: ${why}`);
  process.exit(1);
}
