// The Security banner: what must be known at once, on the pages of those who watch over security, until one of them acknowledges it;
// and, of what concerns a bed, the line on its tile. On these pages the banner has a place of its own, of one height whatever stands in
// it: what comes while a person works moves nothing under the pointer.
import type { ComponentChildren } from 'preact'
import { useEffect, useReducer, useState } from 'preact/hooks'
import { ask, auditAlarm, type Security, type SecurityEvent, type Session } from './api'
import { words } from './dialog'
import { securityDetail } from './words-security'
import { clock, day, say, securityWords } from './words'

const ASK_MS = 3000

// What was heard, and whether all of it is shown, stay while a person goes from page to page.
let heard: Security | undefined
let heardFor = ''
let wide = false
const listeners = new Set<() => void>()
const hear = (s: Security | undefined) => {
  heard = s
  listeners.forEach((f) => f())
}

function useHeard(): Security | undefined {
  const [, again] = useReducer<number, void>((n) => n + 1, 0)
  useEffect(() => {
    const f = () => again()
    listeners.add(f)
    return () => {
      listeners.delete(f)
    }
  }, [])
  return heard
}

// short is a component's kind and name, or the one word that both are.
const short = (id: string) => [...new Set(id.replace(/^spiffe:\/\/[^/]*\//, '').split('/'))].join(' ')

export function SecurityBanner({ session, children }: { session: Session; children?: ComponentChildren }) {
  if (heardFor !== session.login) {
    heard = undefined
    heardFor = session.login
    wide = false
  }
  const now = useHeard()
  const [failed, setFailed] = useState('')
  const [refused, setRefused] = useState('')
  const [all, setAll] = useState(wide)
  const load = () =>
    ask<Security>('GET', '/api/security', undefined, true).then(
      (s) => {
        setFailed('')
        hear(s)
      },
      (e: unknown) => setFailed(words(e)),
    )
  useEffect(() => {
    void load()
    const t = window.setInterval(load, ASK_MS)
    return () => window.clearInterval(t)
  }, [session.login])
  const seen = (e: SecurityEvent) => {
    setRefused('')
    ask('POST', `/api/security/${encodeURIComponent(e.id)}/acknowledge`, { last: e.last }).then(load, (x: unknown) => setRefused(words(x)))
  }
  // An administrator's pages say that with a switch beside it.
  const mine = now?.may_acknowledge ? now.events.filter((e) => e.kind !== 'one-person' || session.role !== 'admin') : []
  const watches = session.role === 'admin' || session.role === 'auditor'
  if (!watches) return auditAlarm ? <section class="security" aria-label={say('security')} data-testid="security"><Alarm /></section> : null
  const total = mine.length + (now?.more ?? 0)
  return (
    <section class={all ? 'security slot slot-wide' : 'security slot'} aria-label={say('security')} data-testid="security">
      <div class="slot-list" data-testid="security-list" tabIndex={0} role="group" aria-label={say('security')}>
        {(refused || failed) && <p role="alert">{refused || say('securityAway', failed)}</p>}
        {auditAlarm && <Alarm />}
        {mine.length > 0 && (
          <ul>
            {mine.map((e) => (
              <Line key={e.id} e={e} onSeen={() => seen(e)} />
            ))}
          </ul>
        )}
        {!!now?.more && <p>{say('andMore', now.more)}</p>}
        {children}
        <p class="slot-quiet">{say(now ? 'securityNothing' : 'fetching')}</p>
      </div>
      <button
        type="button"
        class="quiet small-button slot-button"
        data-testid="security-all"
        aria-expanded={all}
        onClick={() => {
          wide = !all
          setAll(wide)
        }}
      >
        {all ? say('showFewer') : total > 1 ? say('showAll', total) : say('showWhole')}
      </button>
    </section>
  )
}

function Alarm() {
  const w = securityWords('audit-alarm')
  return (
    <p role="alert" data-testid="security-audit-alarm">
      <strong>{w.what}.</strong> {w.todo}
    </p>
  )
}

function Line({ e, onSeen }: { e: SecurityEvent; onSeen: () => void }) {
  const w = securityWords(e.kind)
  const where = [e.place && say('at', short(e.place)), ...e.beds.map((b) => `${b.bed_name} (${b.ward_name})`), e.person].filter(Boolean).join(', ')
  const since = say('since', `${day(e.first)} ${clock(e.first)}`)
  const times = e.times > 1 ? `; ${say('lastly', e.times, `${day(e.last)} ${clock(e.last)}`)}` : ''
  return (
    <li data-testid={`security-${e.kind}`}>
      <div class="security-text">
        <div role="alert">
          <strong>{w.what}</strong>
          {where && `: ${where}`}
        </div>
        <div class="security-todo">{w.todo}</div>
        <div class="security-fine">
          {since}
          {times}
          {e.again && ` (${say('goesOn')})`}
          {e.detail && ': '}
          {e.detail && <Detail text={e.detail} />}
        </div>
      </div>
      <button type="button" class="quiet small-button" data-testid={`security-seen-${e.kind}`} aria-label={`${say('acknowledge')}: ${w.what}`} onClick={onSeen}>
        {say('acknowledge')}
      </button>
    </li>
  )
}

// Detail is what the hub found, in the language of the page where the page knows it.
export function Detail({ text }: { text: string }) {
  const d = securityDetail(text)
  return <span lang={d.lang}>{d.said}</span>
}

// BedSecurity is the line on a bed's tile.
export function BedSecurity({ bed }: { bed: string }) {
  const here = useHeard()?.events.filter((e) => e.beds.some((b) => b.bed === bed)) ?? []
  if (here.length === 0) return null
  return (
    <div class="tile-security" role="status" data-testid={`bed-security-${bed}`}>
      {here.map((e) => (
        <div key={e.id}>
          {securityWords(e.kind).what} ({say('since', clock(e.first))})
        </div>
      ))}
    </div>
  )
}
