// The wall screen: beds and big numbers, no names, no one signed in, and nothing to click but the way to sign in.
import { tr } from './lang'
import { useEffect, useReducer, useState } from 'preact/hooks'
import { Refused, ask, type AtBed, type Kind, type Reading, type Readings } from './api'
import { hubClock } from './clock'
import { absentNote, ageWords, attemptWords, pressureNote, pressureOf, type Seen } from './absent'
import { BedLine, Foot, Gone, LateBanner, LostBanner } from './parts'
import { Split, cuffs, rivalsOf, several } from './rivals'
import { FORGET_SECONDS, STALE_SECONDS, clock, doubt, hasValue, say, sourceOf, span } from './words'

const ASK_MS = 1500
const LOST_MS = 6000
// What took longer to come is no present, whatever it holds.
const LATE_MS = 5000
// Answers that are late keep coming: after so long without one the hub is not reached.
const QUIET_MS = 4000

interface DisplayBed {
  bed: string
  ward_name: string
  occupied: boolean
  numerics?: Readings
  at_bed?: AtBed
  unreadable?: boolean
}

interface Picture {
  server_time: string
  beds: DisplayBed[]
}

export function DisplayPage() {
  const [got, setGot] = useState<{ picture: Picture; heard: number; took: number }>()
  const [refused, setRefused] = useState<Refused>()
  const [, again] = useReducer<number, void>((n) => n + 1, 0)
  const [opened] = useState(() => performance.now())
  useEffect(() => {
    document.title = tr('Wall screen · Vitalseal')
    let over = false
    let t: number
    const load = () => {
      const sent = performance.now()
      return ask<Picture>('GET', '/api/display', undefined, true)
        .then(
          (picture) => {
            if (over) return
            setRefused(undefined)
            const heard = performance.now()
            setGot({ picture, heard, took: heard - sent })
          },
          (e: unknown) => {
            if (!over && e instanceof Refused) {
              setRefused(e)
              if (e.status === 403 || e.status === 401) setGot(undefined) // nothing stays on the wall
            }
          },
        )
        .then(() => {
          if (!over) t = window.setTimeout(load, ASK_MS)
        })
    }
    void load()
    const tick = window.setInterval(() => again(), 1000)
    return () => {
      over = true
      window.clearTimeout(t)
      window.clearInterval(tick)
    }
  }, [])
  const now = hubClock.now()
  // How old the picture is, or may be: by the hub's time as known, by how long its answer took, and
  // by how well that time is known.
  const unsure = hubClock.unsureMs()
  const lateMs = got ? Math.max(now - Date.parse(got.picture.server_time), got.took, Number.isFinite(unsure) ? unsure : 0) : 0
  const quietMs = got ? performance.now() - got.heard : 0
  const waited = performance.now() - opened > LOST_MS // for the first answer
  const lost = quietMs > LOST_MS || (quietMs > QUIET_MS && lateMs > LOST_MS)
  const late = got !== undefined && !lost && (lateMs > LOST_MS || got.took > LATE_MS || !hubClock.sure())
  const wards = new Map<string, DisplayBed[]>()
  got?.picture.beds.forEach((b) => wards.set(b.ward_name, [...(wards.get(b.ward_name) ?? []), b]))
  return (
    <div class="frame wall" data-testid="wall" data-state={lost ? 'lost' : late ? 'late' : got ? 'live' : 'waiting'}>
      <header class="top">
        <span class="brand">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <path d="M2 17h8l3-9 5 16 3-10 2 3h7" />
          </svg>
          {[...wards.keys()].join(' · ') || 'Vitalseal'}
        </span>
        <span class="top-space" />
        <time class="clock">{clock(new Date(now).toISOString(), true)}</time>
        <a class="button quiet" href="/?sign-in" data-testid="wall-signin">
          {tr('Sign in')}
        </a>
      </header>
      {late && <LateBanner seconds={lateMs / 1000} />}
      {lost && <LostBanner heard={got?.picture.server_time} now={now} />}
      <main id="main">
        <h1 class="sr">{tr('Wall screen')}</h1>
        {!got && (refused ? refused.away : waited) && (
          <section class="message" role="status" data-testid="hub-away">
            <h1>{tr('Hub not reached')}</h1>
            <Gone failed={refused} />
          </section>
        )}
        {refused && !refused.away && !got && (
          <section class="message" role="status" data-testid="refused">
            <h1>{refused.status === 403 || refused.status === 401 ? tr('This workstation is no wall screen') : tr('Nothing to show')}</h1>
            <p>
              {refused.status === 403 || refused.status === 401
                ? tr('An administrator enrols a wall screen as a workstation of its own, for the wards that it shows.')
                : refused.message}
            </p>
            <a class="back" href="/">
              {tr('← Start page')}
            </a>
          </section>
        )}
        {[...wards].map(([ward, beds]) => (
          <section key={ward} class="ward" aria-label={ward}>
            {wards.size > 1 && <h2>{ward}</h2>}
            <div class="wall-grid">
              {beds.map((b) => (
                <WallBed key={b.bed} bed={b} now={now} hub={{ state: lost ? 'lost' : late ? 'late' : 'live', heard: got?.picture.server_time }} />
              ))}
            </div>
          </section>
        ))}
      </main>
      <Foot />
    </div>
  )
}

function WallBed({ bed, now, hub }: { bed: DisplayBed; now: number; hub: Seen['hub'] }) {
  const lost = hub.state !== 'live'
  const n = bed.numerics ?? {}
  const sys = n.systolic_mmhg
  const age = Math.min(ageSeconds(n.heart_rate_bpm, now), ageSeconds(n.spo2_percent, now))
  const stale = lost || age > STALE_SECONDS
  // The sensor speaks, and has no number: the bed is not live for that.
  const absent = !stale && ![n.heart_rate_bpm, n.spo2_percent].some((r) => hasValue(r) && ageSeconds(r, now) <= STALE_SECONDS)
  const state = !bed.occupied ? 'empty' : stale ? 'stale' : absent ? 'absent' : 'live'
  const seen: Seen = { hub, now, readings: n, seconds: (r) => ageSeconds(r, now), at: bed.at_bed, unreadable: bed.unreadable }
  const both = pressureOf(n)
  const more = several(undefined, n)
  return (
    <div class={`tile wall-bed ${state === 'live' ? '' : `tile-${state}`}`} data-testid={`wall-${bed.bed}`} data-state={state}>
      <div class="tile-head">
        <span class="bed-name">{bed.bed}</span>
        {bed.occupied && (stale || absent) && <strong class="age age-stale">{ageWords(seen, age)}</strong>}
      </div>
      {bed.occupied ? (
        <>
          <div class="wall-numbers">
            <Big kind="heart_rate_bpm" label={tr('HR')} unit="bpm" colour="hr" r={n.heart_rate_bpm} seen={seen} />
            <Big kind="spo2_percent" label={tr('SpO₂')} unit="%" colour="spo2" r={n.spo2_percent} seen={seen} />
          </div>
          <BedLine seen={seen} testid="wall-line" />
          {more && (!stale || more.differ) && (
            <p class="wall-rivals" data-testid="wall-rivals">
              <strong>{more.text}</strong> {say(more.todo)}
            </p>
          )}
          <div class={`bp ${both ? '' : 'is-absent'} ${lost || ageSeconds(sys, now) > 3600 || attemptWords(seen) ? 'is-stale' : ''} ${attemptWords(seen) ? 'is-tried' : ''}`} data-testid="wall-bp">
            <span class="number-label">
              {tr('BP')}{' '}<span class="unit">mmHg</span>
            </span>
            <span class="bp-value">{both ? `${Math.round(both.sys.value)}/${Math.round(both.dia.value)}${doubt(both.sys) || doubt(both.dia) ? '?' : ''}` : '– / –'}</span>
            <span class="number-note">{[pressureNote(seen), both && sourceOf(sys), cuffs(n)].filter(Boolean).join(', ')}</span>
          </div>
        </>
      ) : (
        <span class="number-note">{tr('no patient')}</span>
      )}
    </div>
  )
}

function ageSeconds(r: Reading | undefined, now: number): number {
  return r ? Math.max(0, now - Date.parse(r.at)) / 1000 : Infinity
}

// Big is one number, as old as it itself is: that another one of the bed is live says nothing about it.
function Big({ kind, label, unit, colour, r, seen }: { kind: Kind; label: string; unit: string; colour: string; r: Reading | undefined; seen: Seen }) {
  const age = seen.seconds(r)
  const stale = seen.hub.state !== 'live' || age > STALE_SECONDS
  const recent = age < FORGET_SECONDS
  const shown = recent && hasValue(r)
  const uncertain = shown && doubt(r)
  const rivals = shown ? rivalsOf(undefined, r) : []
  return (
    <div class={`number ${colour} ${stale ? 'is-stale' : ''} ${shown ? '' : 'is-absent'}`}>
      <span class="number-label">
        {label} <span class="unit">{unit}</span>
      </span>
      {shown && rivals.length > 0 ? (
        <Split reading={r} rivals={rivals} seconds={seen.seconds} testid={`wall-${colour}`} />
      ) : (
        <span class="number-value" data-testid={`wall-${colour}`}>
          {shown ? Math.round(r.value) : <span aria-label={tr('no value')}>– –</span>}
          {uncertain && <sup aria-hidden="true">?</sup>}
        </span>
      )}
      <span class="number-note">{shown ? [stale ? tr('old: {0} ago', span(age)) : uncertain, rivals.length > 0 && say('disagree')].filter(Boolean).join(', ') || '\u00a0' : absentNote(seen, kind, r)}</span>
      <span class={`number-source ${r?.unverified ? 'is-unverified' : ''}`}>{recent && rivals.length === 0 && sourceOf(r)}</span>
    </div>
  )
}
