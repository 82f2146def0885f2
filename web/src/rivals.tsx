// Two sensors of one kind at one bed, as in the middle of a swap: that both send is said beside the numbers, and where their values
// differ by more than the hub's bound, both stand, each with its sensor's name. Which of them is right the page cannot know.
import type { Asked, Other, Reading, Readings, Session } from './api'
import { lang } from './lang'
import { doubt, hasValue, say } from './words'

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

// Split are the values that disagree, in place of one big number.
export function Split({ reading, rivals, testid }: { reading: Valued; rivals: Valued[]; testid: string }) {
  return (
    <span class="number-value is-split" data-testid={testid}>
      {[reading, ...rivals].map((r) => (
        <span key={r.source} class="split-one">
          <span class="split-value">
            {Math.round(r.value)}
            {doubt(r) && <sup aria-hidden="true">?</sup>}
          </span>{' '}
          <span class="split-source">{r.source}</span>
        </span>
      ))}
    </span>
  )
}

// several is what is said of sensors that send at the same time, or undefined while each kind has one.
export function several(asked: Asked | undefined, readings: Readings): { text: string; differ: boolean } | undefined {
  const of = (r: Reading | undefined): string[] => (r?.others?.length ? [r, ...r.others].map((o) => o.source ?? '') : [])
  const oximeters = of(readings.spo2_percent)
  const names = [...new Set([...oximeters, ...of(readings.heart_rate_bpm)])].sort()
  if (names.length < 2) return undefined
  const both = [readings.heart_rate_bpm, readings.spo2_percent]
  const legacy = both.some((r) => r?.unverified && of(r).length > 0)
  const differ = both.some((r) => hasValue(r) && rivalsOf(asked, r).length > 0)
  const list = new Intl.ListFormat(lang, { type: 'conjunction' }).format(names)
  const two = names.length === 2
  if (legacy) return { text: two ? say('twoLegacy', list) : say('manyLegacy', names.length, list), differ }
  // What gives a heart rate alone is no oximeter.
  if (names.some((n) => !oximeters.includes(n))) return { text: two ? say('twoRates', list) : say('manyRates', names.length, list), differ }
  return { text: two ? say('twoOximeters', list) : say('manyOximeters', names.length, list), differ }
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
      <p>{say(s.differ ? 'rivalsDiffer' : 'rivalsAgree')}</p>
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
