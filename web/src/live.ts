// The live connection: one WebSocket for all the patients on the screen. It reconnects by itself, and never lets
// anything look live that is not: every reading is kept with the time at which this screen heard it.
import type { EndReason, Kind, LiveMessage, Reading, Readings } from './api'
import { Wave } from './wave'
import { STALE_SECONDS } from './words'

// What the hub says every second even when no sensor speaks; without it the connection is as good as lost.
const SILENCE_MS = 5000
// How long two sensors that no longer differ are still shown side by side.
const DIFFER_MS = 10_000
const RETRY_MS = [250, 500, 1000, 2000, 4000]

export type LinkState = 'connecting' | 'live' | 'lost' | 'signed-out' | 'changed'

export interface Heard extends Reading {
  heardMs: number // hub's time when this screen heard it
  differMs?: number // when another sensor's value last differed too much; 0: never
}

export interface Vitals {
  readings: Partial<Record<Kind, Heard>>
  wave: Wave
}

export class Live {
  link: LinkState = 'connecting'
  why: EndReason | undefined // when the hub ended it
  whom: string | undefined // the patient who was discharged or moved
  private socket: WebSocket | undefined
  private patients = new Map<string, Vitals>()
  private offsetMs = 0 // hub's clock minus this machine's
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
      this.link = 'live'
      return
    }
    this.connect()
    this.timers.push(window.setInterval(() => this.watch(), 1000))
  }

  // now is the hub's time, so that ages are right on a workstation whose clock is not.
  now(): number {
    return Date.now() + this.offsetMs
  }

  syncClock(serverTime: string): void {
    const t = Date.parse(serverTime)
    if (Number.isFinite(t)) this.offsetMs = t - Date.now()
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
        continue
      }
      if (have && have.source !== r.source ? !live && this.ageSeconds(have) <= STALE_SECONDS : older) continue
      v.readings[kind] = { ...r, ...this.differing(have, r), heardMs: live ? now : Math.min(now, at) }
    }
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
    if (this.link === l) return
    this.link = l
    this.changed()
  }

  private connect(): void {
    const q = new URLSearchParams()
    this.ids.forEach((id) => q.append('patient', id))
    if (!this.waves) q.set('waveforms', 'none')
    const scheme = window.location.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(`${scheme}//${window.location.host}/api/live?${q}`)
    this.socket = socket
    this.lastHeard = Date.now()
    socket.onmessage = (e) => {
      if (socket !== this.socket) return
      this.lastHeard = Date.now()
      this.receive(JSON.parse(String(e.data)) as LiveMessage)
    }
    socket.onclose = () => {
      if (socket !== this.socket || this.closed) return
      this.lost()
    }
  }

  private lost(): void {
    this.socket = undefined
    if (this.closed || this.link === 'signed-out' || this.link === 'changed') return
    this.setLink('lost')
    // Perhaps it is refused, and not lost: a plain request will tell.
    if (this.tries % 3 === 2) this.onReconnect()
    const wait = RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)]!
    this.tries++
    this.retry = window.setTimeout(() => this.connect(), wait * (0.75 + Math.random() / 2))
  }

  private watch(): void {
    if (this.socket && Date.now() - this.lastHeard > SILENCE_MS) {
      const dead = this.socket
      this.socket = undefined
      dead.close()
      this.lost()
    }
    this.changed() // ages grow even when nothing arrives
  }

  private receive(m: LiveMessage): void {
    switch (m.type) {
      case 'hello':
        this.syncClock(m.server_time)
        if (this.tries > 0) this.onReconnect()
        this.tries = 0
        this.setLink('live')
        break
      case 'alive':
        this.syncClock(m.server_time)
        break
      case 'numerics':
        this.take(m.patient, m.numerics, true)
        this.changed()
        break
      case 'waveform':
        this.of(m.patient).wave.push(m, this.now())
        break
      case 'lagged':
        break // the hub closes after it; we come back with a fresh picture
      case 'ended':
        this.why = m.reason
        this.whom = m.patient
        if (m.reason === 'signed_out') this.setLink('signed-out')
        else if (m.reason !== 'stopping') this.setLink('changed')
        break
    }
  }
}
