// Two sensors of one kind at one bed, as in the middle of a swap: that both send is said beside the numbers, and where their values
// differ by more than the hub's bound, both stand, each with its sensor's name. Which of them is right the page cannot know.
import type { Asked, Other, Reading, Readings, Session } from './api'
import { lang } from './lang'
import { FORGET_SECONDS, clock, doubt, hasValue, say, whyAbsent } from './words'

type Valued = Reading & { value: number }

// refusedFor reports whether a reading is of a sensor of which a nurse has said that it is on another patient.
export function refusedFor(asked: Asked | undefined, r: Reading | undefined): boolean {
  return !!r?.not_confirmed && !!asked?.questions?.some((q) => q.no && (!r.source || q.sensor === r.source))
}

// rivalsOf are the words that differ from a reading too much to show that one alone. One of a sensor that a nurse has refused is no
// rival of one that is this patient's.
export function rivalsOf(asked: Asked | undefined, r: Reading | undefined): (Other & Valued)[] {
  if (!r || !r.disagree) return []
  return (r.others ?? []).filter((o): o is Other & Valued => !!o.disagree && hasValue(o) && (refusedFor(asked, r) || !refusedFor(asked, o)))
}

// Split are the values that disagree, in place of one big number; those of a sensor that is silent
// since are grey, with their time, and no number any more when they are too old for one.
export function Split({ reading, rivals, seconds, testid }: { reading: Valued; rivals: (Other & Valued)[]; seconds: (r: Reading) => number; testid: string }) {
  return (
    <span class="number-value is-split" data-testid={testid}>
      {[reading as Other & Valued, ...rivals].map((r) => (
        <span key={r.source} class={r.silent ? 'split-one is-silent' : 'split-one'}>
          <span class="split-value">
            {r.silent && seconds(r) > FORGET_SECONDS ? '–' : Math.round(r.value)}
            {doubt(r) && <sup aria-hidden="true">?</sup>}
          </span>{' '}
          <span class="split-source">{sinceWhen(r)}</span>
        </span>
      ))}
    </span>
  )
}

// sinceWhen names a sensor, and since when its value is none of now.
function sinceWhen(r: Other): string {
  if (!r.silent) return r.source ?? ''
  if (r.why) return say('absentSince', r.source ?? '', clock(r.at, true), whyAbsent('heart_rate_bpm', r.why))
  return say('silentSince', r.source ?? '', clock(r.at, true))
}

const listed = (names: string[]) => new Intl.ListFormat(lang, { type: 'conjunction' }).format(names)

// cuffs is what is said of cuffs that have measured within the hour, or undefined while there is
// one.
export function cuffs(readings: Readings): string | undefined {
  const sys = readings.systolic_mmhg
  if (!sys?.others?.length) return undefined
  const names = [sys, ...sys.others].map((r) => r.source ?? '').sort()
  return names.length === 2 ? say('twoCuffs', listed(names)) : say('manyCuffs', names.length, listed(names))
}

// More is what is said of several sensors, and what to do.
interface More {
  text: string
  differ: boolean
  todo: 'rivalsDiffer' | 'rivalsAgree' | 'rivalsGone'
}

// several is what is said of sensors that send at the same time, or that disagreed when one fell
// silent; undefined while each kind has one.
export function several(asked: Asked | undefined, readings: Readings): More | undefined {
  const both = [readings.heart_rate_bpm, readings.spo2_percent]
  const gone = both.flatMap((r) => (r?.others ?? []).filter((o) => o.silent && (refusedFor(asked, r) || !refusedFor(asked, o))))
  const present = (r: Reading | undefined): Reading[] => (r?.others ?? []).filter((o) => !o.silent)
  const of = (r: Reading | undefined): string[] => (r && present(r).length > 0 ? [r, ...present(r)].map((o) => o.source ?? '') : [])
  const oximeters = of(readings.spo2_percent)
  const names = [...new Set([...oximeters, ...of(readings.heart_rate_bpm)])].sort()
  if (names.length < 2) {
    const [first] = gone
    return first && { text: first.why ? say('wentAbsent', first.source ?? '', clock(first.at, true), whyAbsent('heart_rate_bpm', first.why)) : say('wentSilent', first.source ?? '', clock(first.at, true)), differ: true, todo: 'rivalsGone' }
  }
  const legacy = both.some((r) => r?.unverified && of(r).length > 0)
  const differ = both.some((r) => hasValue(r) && rivalsOf(asked, r).length > 0)
  const todo = differ ? 'rivalsDiffer' : 'rivalsAgree'
  const list = listed(names)
  const two = names.length === 2
  if (legacy) return { text: two ? say('twoLegacy', list) : say('manyLegacy', names.length, list), differ, todo }
  // What gives a heart rate alone is no oximeter.
  if (names.some((n) => !oximeters.includes(n))) return { text: two ? say('twoRates', list) : say('manyRates', names.length, list), differ, todo }
  return { text: two ? say('twoOximeters', list) : say('manyOximeters', names.length, list), differ, todo }
}

// Rivals says that several sensors send, and leads those who may take one off the bed to where that is done.
export function Rivals({ asked, readings, session, go, testid }: {
  asked: Asked
  readings: Readings
  session: Session
  go: (to: string) => void
  testid: string
}) {
  const s = several(asked, readings)
  if (!s) return null
  return (
    <section class={s.differ ? 'asks rivals' : 'asks rivals rivals-agree'} role={s.differ ? 'alert' : 'status'} aria-label={s.text} data-testid={testid} data-state={s.differ ? 'differ' : 'agree'}>
      <strong class="asks-title">{s.text}</strong>
      <p>{say(s.todo)}</p>
      {(session.role === 'nurse' || session.role === 'staff') && (
        <div class="asks-answers">
          <button type="button" class="quiet" data-testid="rivals-sensors" onClick={() => go('/sensors')}>
            {say('rivalsSensors')}
          </button>
        </div>
      )}
    </section>
  )
}
