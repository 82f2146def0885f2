// Is this still the right patient? A sensor that was silent for long may have come back on another one. The numbers stay on the
// screen, marked, with the question beside them.
import { useEffect, useRef, useState } from 'preact/hooks'
import { ask, type Asked, type Question, type Readings, type TrendQuestion } from './api'
import { Failed, words } from './dialog'
import { tr } from './lang'
import { sensorsAt } from './sensors'
import { clock, day, say, span } from './words'

// marked reports whether any reading is of a sensor that asks.
export function marked(readings: Readings): boolean {
  return Object.values(readings).some((r) => r?.not_confirmed)
}

const near = (iso: string, seconds = false) => (day(iso) === day(new Date().toISOString()) ? clock(iso, seconds) : `${day(iso)} ${clock(iso, seconds)}`)

// A silence shorter than this is said to the second: else both its times may read the same.
const SHORT_SECONDS = 600

export function AskPatient({ patient, name, asked, go, onAnswered }: {
  patient: string
  name: string | undefined
  asked: Asked
  go: (to: string) => void
  onAnswered: () => void
}) {
  const [busy, setBusy] = useState(false)
  const [failed, setFailed] = useState('')
  const [back, setBack] = useState(false) // a "no" is to be taken back, and it is asked once more
  const list = asked.questions ?? []
  const leave = useRef<HTMLButtonElement>(null)
  useEffect(() => {
    if (back) leave.current?.focus()
  }, [back])
  if (list.length === 0) return null
  const who = name || tr('the right patient')
  const answer = (is: 'yes' | 'no') => {
    setBusy(true)
    setBack(false)
    setFailed('')
    ask('POST', `/api/patients/${encodeURIComponent(patient)}/confirm`, { questions: list.map((q) => q.id), answer: is })
      .then(onAnswered, (e: unknown) => {
        setFailed(words(e))
        onAnswered()
      })
      .finally(() => setBusy(false))
  }
  // A nurse of the ward may take a sensor from its bed, or say whose it is on the page of sensors.
  const take = (sensor: string) => {
    setBusy(true)
    setFailed('')
    ask('POST', `/api/admin/identities/sensor/${encodeURIComponent(sensor)}/bed`, { bed: '' })
      .then(onAnswered, (e: unknown) => setFailed(words(e)))
      .finally(() => setBusy(false))
  }
  const refused = list.filter((q) => q.no)
  const takingBack = back && refused.length > 0
  return (
    <section class="asks" role="alert" aria-label={tr('Is this still {0}?', who)} data-testid={`asks-${patient}`}>
      <strong class="asks-title">{tr('Is this still {0}?', who)}</strong>
      {list.map((q) => (
        <Why key={q.id} q={q} />
      ))}
      <Failed text={failed} testid="asks-failed" />
      {asked.may_answer && refused.length > 0 && (
        <div class="asks-answers">
          {refused.map((q) => (
            <>
              <button key={q.id} type="button" class="main" data-testid={`asks-whose-${q.sensor}`} disabled={busy} onClick={() => go(sensorsAt(q.sensor, q.spoke))}>
                {say('whoseIsIt', q.sensor)}
              </button>
              <button key={`${q.id} off`} type="button" class="quiet" data-testid={`asks-take-${q.sensor}`} disabled={busy} onClick={() => take(q.sensor)}>
                {tr('Take {0} off this bed', q.sensor)}
              </button>
            </>
          ))}
        </div>
      )}
      {asked.may_answer && !takingBack && (
        <div class="asks-answers">
          <span class="asks-hint">{tr('Look at the wristband first.')}</span>
          <button type="button" class={refused.length === 0 ? 'main' : 'quiet'} data-testid="asks-yes" disabled={busy} onClick={() => (refused.length > 0 ? setBack(true) : answer('yes'))}>
            {tr('Yes, still {0}', who)}
          </button>
          {refused.length < list.length && (
            <button type="button" class="quiet" data-testid="asks-no" disabled={busy} onClick={() => answer('no')}>
              {tr('No, another patient')}
            </button>
          )}
        </div>
      )}
      {asked.may_answer && takingBack && (
        <div class="asks-answers" role="group" aria-labelledby={`back-${patient}`} data-testid="asks-back">
          <span class="asks-hint" id={`back-${patient}`}>{tr('{0} said no. Is it {1} after all? Look at the wristband: the numbers then count as those of {1}.', [...new Set(refused.map((q) => q.by ?? ''))].join(', '), who)}</span>
          <button type="button" class="main" data-testid="asks-back-no" ref={leave} disabled={busy} onClick={() => setBack(false)}>
            {tr('Leave the “no”')}
          </button>
          <button type="button" class="quiet" data-testid="asks-back-yes" disabled={busy} onClick={() => answer('yes')}>
            {tr('Take the “no” back: it is {0}', who)}
          </button>
        </div>
      )}
    </section>
  )
}

function Why({ q }: { q: Question }) {
  const lasted = (Date.parse(q.spoke) - Date.parse(q.silent)) / 1000
  const short = lasted < SHORT_SECONDS
  return (
    <p>
      {q.no
        ? tr('{0} says: no. Move the sensor or the patient, or see that the patient is discharged. Until then the numbers stay marked.', q.by ?? '')
        : tr('{0} gave no value from {1} to {2} ({3}). Its numbers are marked until a nurse of the ward answers.', q.sensor, near(q.silent, short), near(q.spoke, short), span(lasted))}
    </p>
  )
}

// Asks says which stretches of a chart were in question, and what became of them.
export function Asks({ list }: { list: TrendQuestion[] }) {
  if (list.length === 0) return null
  return (
    <ul class="gaps moves" data-testid="not-confirmed">
      {list.map((q) => (
        <li key={`${q.sensor} ${q.from}`}>{sentence(q)}</li>
      ))}
    </ul>
  )
}

function sentence(q: TrendQuestion): string {
  const from = near(q.from)
  if (q.answer === 'yes') return tr('{0} confirmed at {1} that {2} was on this patient from {3} on.', q.by ?? '', near(q.at ?? q.from), q.sensor, from)
  if (q.answer === 'no')
    return q.to
      ? tr('From {0} to {1} {2} was not on this patient, says {3}.', from, near(q.to), q.sensor, q.by ?? '')
      : tr('From {0} on {1} is not on this patient, says {2}.', from, q.sensor, q.by ?? '')
  return q.to
    ? tr('From {0} to {1} it was never confirmed that {2} was on this patient.', from, near(q.to), q.sensor)
    : tr('From {0} on it is not confirmed that {1} is on this patient: the question is not answered yet.', from, q.sensor)
}
