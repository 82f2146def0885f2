// The live connection: one WebSocket for all the patients on the screen. It reconnects by itself, and never lets
// anything look live that is not: every reading is kept with the time at which this screen heard it.
import { ask, type AtBed, type EndReason, type Kind, type LiveMessage, type Reading, type Readings } from './api'
import { hubClock } from './clock'
import { Wave } from './wave'

const shortName = (spiffe: string): string => spiffe.slice(spiffe.lastIndexOf('/') + 1)
import { STALE_SECONDS } from './words'

// What the hub says every second even when no sensor speaks; without it the connection is as good as lost.
const SILENCE_MS = 5000
// How far its newest word may lie behind the hub's time: what comes later is no present.
const LATE_MS = 5000
// Words that are late keep coming, each second.
const QUIET_MS = 3000
// How often the hub's time is asked for while it is not known well enough, and how long such a
// request may take before another one.
const ASK_TIME_MS = 2000
const ASK_TIME_PATIENCE_MS = 10_000
// How long two sensors that no longer differ are still shown side by side.
const DIFFER_MS = 10_000
// So long an attempt that came live stands before what was fetched, which may be older.
const ATTEMPT_MS = 60_000
const RETRY_MS = [250, 500, 1000, 2000, 4000]

// late: the connection stands, and what comes over it is older than it may be.
export type LinkState = 'connecting' | 'live' | 'late' | 'lost' | 'signed-out' | 'changed'

const later = (a: string | undefined, b: string | undefined): string | undefined => (a && (!b || Date.parse(a) >= Date.parse(b)) ? a : b)

export interface Heard extends Reading {
  heardMs: number // hub's time when this screen heard it
  differMs?: number // when another sensor's value last differed too much; 0: never
}

export interface Vitals {
  readings: Partial<Record<Kind, Heard>>
  wave: Wave
  at?: AtBed // what is at the bed
}

export class Live {
  private connection: LinkState = 'connecting'
  why: EndReason | undefined // when the hub ended it
  whom: string | undefined // the patient who was discharged or moved
  private socket: WebSocket | undefined
  private patients = new Map<string, Vitals>()
  private aliveMs = -Infinity // the hub's time in its newest word
  private timeAsked = -Infinity // by the steady clock
  private timeWaited = false
  private tries = 0
  private lastHeard = 0
  private closed = false
  private timers: number[] = []
  private retry: number | undefined
  private listeners = new Set<() => void>()

  constructor(
    private readonly ids: string[],
    private readonly waves: boolean,
    // Called when a connection opens again, to fetch what was missed.
    private readonly onReconnect: () => void,
  ) {
    if (ids.length === 0) {
      this.connection = 'live'
      return
    }
    this.connect()
    this.timers.push(window.setInterval(() => this.watch(), 1000))
  }

  // now is the hub's time, so that ages are right on a workstation whose clock is not, and however
  // late its words come.
  now(): number {
    return hubClock.now()
  }

  // link is the connection's state; a connection whose words come late, or may, is not live.
  get link(): LinkState {
    if (this.connection !== 'live' || this.ids.length === 0) return this.connection
    if (hubClock.sure()) {
      if (this.now() - this.aliveMs <= LATE_MS) return 'live'
      // A hub that says nothing any more is lost, and not late: that is known a little sooner than
      // the connection is given up.
      return performance.now() - this.lastHeard > QUIET_MS ? 'lost' : 'late'
    }
    return Number.isFinite(hubClock.unsureMs()) ? 'late' : 'connecting'
  }

  // lateSeconds is how late what comes over the connection is, or may be.
  get lateSeconds(): number {
    const unsure = hubClock.unsureMs()
    return Math.max(0, this.now() - this.aliveMs, Number.isFinite(unsure) ? unsure : 0) / 1000
  }

  // heard is the hub's time in its newest word; undefined before the first.
  get heard(): string | undefined {
    return Number.isFinite(this.aliveMs) ? new Date(this.aliveMs).toISOString() : undefined
  }

  // bedside keeps what is at a patient's bed.
  bedside(patient: string, at: AtBed | undefined): void {
    if (at) this.of(patient).at = at
  }

  of(patient: string): Vitals {
    let v = this.patients.get(patient)
    if (!v) {
      v = { readings: {}, wave: new Wave() }
      this.patients.set(patient, v)
    }
    return v
  }

  // take keeps those readings that are newer than what is shown: a backlog never overwrites the present. Which of several sensors
  // counts is the hub's to choose; when another one does, its reading stands whatever its clock says. Only what was fetched, and may
  // be older than what came live, does not put another sensor in the place of a fresh one.
  // A reading from the future, by a clock that is ahead, counts as of when it was heard: the present takes its place at once.
  take(patient: string, readings: Readings, live: boolean): void {
    const v = this.of(patient)
    const now = this.now()
    for (const [kind, r] of Object.entries(readings) as [Kind, Reading][]) {
      const have = v.readings[kind]
      const at = Date.parse(r.at)
      const older = have && Math.min(have.heardMs, Date.parse(have.at)) >= Math.min(now, at)
      if (have && have.at === r.at && have.source === r.source) {
        if (!live) have.not_confirmed = r.not_confirmed ?? false // it may have been confirmed since
        Object.assign(have, this.differing(have, r)) // another sensor may have spoken since
        have.since = later(have.since, r.since)
        if (live || r.attempt || (have.attempt && this.now() - Date.parse(have.attempt.at) > ATTEMPT_MS)) this.tried(have, r)
        continue
      }
      if (have && have.source !== r.source ? !live && this.ageSeconds(have) <= STALE_SECONDS : older) continue
      // What the hub knows of before this page was opened, or what this page heard itself.
      const since = r.value !== undefined ? undefined : later(r.since, have && have.value !== undefined ? have.at : have?.since)
      v.readings[kind] = { ...r, ...this.differing(have, r), since, heardMs: live ? now : Math.min(now, at) }
    }
  }

  // tried takes over what is known of a cuff's attempt since a value.
  private tried(have: Heard, r: Reading): void {
    if (r.attempt) have.attempt = r.attempt
    else delete have.attempt
  }

  // differing is what other sensors say beside a reading. Two that differ by about the bound stay two for a while, so that one number
  // and both do not take turns each second.
  private differing(have: Heard | undefined, r: Reading): Pick<Heard, 'others' | 'disagree' | 'differMs'> {
    const differMs = r.disagree ? this.now() : (have?.differMs ?? 0)
    if (r.disagree || this.now() - differMs > DIFFER_MS) return { others: r.others ?? [], disagree: r.disagree ?? false, differMs }
    const did = new Set((have?.others ?? []).filter((o) => o.disagree).map((o) => o.source))
    const others = (r.others ?? []).map((o) => ({ ...o, disagree: did.has(o.source) }))
    return { others, disagree: others.some((o) => o.disagree), differMs }
  }

  // ageSeconds is how old a reading is: by its own time or by when it was heard, whichever is older.
  ageSeconds(r: Heard | undefined): number {
    if (!r) return Infinity
    return Math.max(0, this.now() - Math.min(r.heardMs, Date.parse(r.at))) / 1000
  }

  onChange(f: () => void): () => void {
    this.listeners.add(f)
    return () => this.listeners.delete(f)
  }

  close(): void {
    this.closed = true
    this.timers.forEach((t) => window.clearInterval(t))
    window.clearTimeout(this.retry)
    this.socket?.close()
  }

  private changed(): void {
    this.listeners.forEach((f) => f())
  }

  private setLink(l: LinkState): void {
    if (this.connection === l) return
    this.connection = l
    this.changed()
  }

  private connect(): void {
    const q = new URLSearchParams()
    this.ids.forEach((id) => q.append('patient', id))
    if (!this.waves) q.set('waveforms', 'none')
    const scheme = window.location.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(`${scheme}//${window.location.host}/api/live?${q}`)
    this.socket = socket
    this.lastHeard = performance.now()
    socket.onmessage = (e) => {
      if (socket !== this.socket) return
      this.lastHeard = performance.now()
      this.receive(JSON.parse(String(e.data)) as LiveMessage)
    }
    socket.onclose = () => {
      if (socket !== this.socket || this.closed) return
      this.lost()
    }
  }

  private lost(): void {
    this.socket = undefined
    if (this.closed || this.connection === 'signed-out' || this.connection === 'changed') return
    this.setLink('lost')
    // Perhaps it is refused, and not lost: a plain request will tell.
    if (this.tries % 3 === 2) this.onReconnect()
    const wait = RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)]!
    this.tries++
    this.retry = window.setTimeout(() => this.connect(), wait * (0.75 + Math.random() / 2))
  }

  private watch(): void {
    this.askTime()
    if (this.socket && performance.now() - this.lastHeard > SILENCE_MS) {
      const dead = this.socket
      this.socket = undefined
      dead.close()
      this.lost()
    }
    this.changed() // ages grow even when nothing arrives
  }

  // askTime has the hub say what time it is, when that is not known well enough or the newest words
  // seem late: only the answer to a request bounds how late they are.
  private askTime(): void {
    const waited = performance.now() - this.timeAsked
    if (this.connection !== 'live' || (this.link === 'live' && !hubClock.due())) return
    if (waited < (this.timeWaited ? ASK_TIME_PATIENCE_MS : ASK_TIME_MS)) return
    this.timeAsked = performance.now()
    this.timeWaited = true
    const done = () => {
      this.timeWaited = false
      if (!this.closed) this.changed()
    }
    ask('GET', '/api/session', undefined, true).then(done, done) // a refusal is for the live connection to say
  }

  private spoke(serverTime: string): void {
    hubClock.heard(serverTime)
    const t = Date.parse(serverTime)
    if (Number.isFinite(t)) this.aliveMs = t
  }

  private receive(m: LiveMessage): void {
    switch (m.type) {
      case 'hello':
        this.spoke(m.server_time)
        if (this.tries > 0) this.onReconnect()
        this.tries = 0
        this.setLink('live')
        this.askTime()
        break
      case 'alive':
        this.spoke(m.server_time)
        break
      case 'numerics':
        this.take(m.patient, m.numerics, true)
        this.changed()
        break
      case 'waveform':
        this.of(m.patient).wave.push({ ...m, source: shortName(m.sensor) }, this.now())
        break
      case 'bedside':
        this.bedside(m.patient, m.at_bed)
        this.changed()
        break
      case 'lagged':
        break // the hub closes after it; we come back with a fresh picture
      case 'ended':
        this.why = m.reason
        this.whom = m.patient
        if (m.reason === 'signed_out') this.setLink('signed-out')
        else if (m.reason !== 'stopping' && m.reason !== 'undecided') this.setLink('changed')
        break
    }
  }
}
