// One patient's pulse wave: samples by time, and drawing them as a bedside monitor does, sweeping left to right over
// what was there one window ago. Time on the screen is the hub's, a little behind so that the line never stutters.

import type { WaveChunk } from './api'

const KEEP_SECONDS = 16

interface Sample {
  t: number // ms, the hub's time base
  v: number // baseline removed; a beat is a peak
  dc: number // light level, to bound the magnification
  joined: boolean // false: the first sample after a hole
}

export class Wave {
  private chunks: WaveChunk[] = []
  private samples: Sample[] = []
  private base = 0
  private lateness = 600 // ms that chunks arrive after their last sample, tracked
  private low = -1
  private high = 1
  private scaledAt = 0
  // The sensor that the newest samples are of.
  source = ''

  // push adds a live chunk; now is the hub's time of its arrival.
  push(c: WaveChunk, now: number): void {
    if (!this.append(c)) return
    this.chunks.push(c)
    const late = now - Date.parse(c.start) - (c.pulse.length / c.rate_hz) * 1000
    if (late > this.lateness) this.lateness = Math.min(late, 4000)
    else this.lateness += (Math.max(late, 0) - this.lateness) * 0.01
    const oldest = Date.parse(c.start) - KEEP_SECONDS * 1000
    if (this.chunks.length > 2 * KEEP_SECONDS * 4) this.chunks = this.chunks.filter((k) => Date.parse(k.start) >= oldest)
  }

  // fill puts what was before the first live chunk in its place.
  fill(history: WaveChunk[]): void {
    const all = [...history, ...this.chunks].sort((a, b) => Date.parse(a.start) - Date.parse(b.start))
    this.chunks = []
    this.samples = []
    for (const c of all) if (this.append(c)) this.chunks.push(c)
    // The height is that of the history, not of the few samples that were there before it.
    this.low = -1
    this.high = 1
    this.scaledAt = 0
  }

  // append is false for a chunk that is there already, or from a backlog that the screen is past.
  private append({ start, rate_hz: rateHz, gap_samples: gapSamples, pulse, source = '' }: WaveChunk): boolean {
    const startMs = Date.parse(start)
    if (!(rateHz > 0) || pulse.length === 0 || !Number.isFinite(startMs)) return false
    const step = 1000 / rateHz
    const last = this.samples[this.samples.length - 1]
    if (last && startMs < last.t + step / 2) return false
    // Two sensors' waves are never one line.
    let joined = last !== undefined && source === this.source && gapSamples === 0 && startMs - last.t < 3 * step
    this.source = source
    if (!joined) this.base = pulse[0]!
    const follow = Math.min(1, (2 * Math.PI * 0.35) / rateHz) // high pass at 0.35 Hz: breathing and drift
    pulse.forEach((p, i) => {
      this.base += (p - this.base) * follow
      this.samples.push({ t: startMs + i * step, v: p - this.base, dc: 65535 - p, joined })
      joined = true
    })
    const cut = this.samples[this.samples.length - 1]!.t - KEEP_SECONDS * 1000
    if (this.samples[0]!.t < cut - 2000) this.samples = this.samples.filter((s) => s.t >= cut)
    return true
  }

  // draw paints the window that ends at now (the hub's time).
  draw(canvas: HTMLCanvasElement, now: number, windowSeconds: number, colour: string, lineWidth: number): void {
    const density = Math.min(window.devicePixelRatio || 1, 2)
    const w = Math.round(canvas.clientWidth * density)
    const h = Math.round(canvas.clientHeight * density)
    if (w === 0 || h === 0) return
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w
      canvas.height = h
    }
    const g = canvas.getContext('2d')
    if (!g) return
    g.clearRect(0, 0, w, h)

    const head = now - this.lateness - 300
    const span = windowSeconds * 1000
    const blank = span * 0.045 // what the sweep has wiped, ahead of the pen
    this.scale(head, now)
    const y = (v: number) => h * (0.92 - (0.84 * (v - this.low)) / (this.high - this.low))
    const x = (t: number) => (((t % span) + span) % span) * (w / span)

    g.lineWidth = lineWidth * density
    g.lineJoin = 'round'
    g.strokeStyle = colour
    g.beginPath()
    let previous = -1
    let tip: { x: number; y: number } | undefined
    for (const s of this.samples) {
      if (s.t > head) break
      if (s.t < head - span + blank) continue
      const px = x(s.t)
      const py = Math.max(1, Math.min(h - 1, y(s.v)))
      if (previous < 0 || !s.joined || px < previous) g.moveTo(px, py)
      else g.lineTo(px, py)
      previous = px
      tip = { x: px, y: py }
    }
    g.stroke()
    const newest = this.samples[this.samples.length - 1]
    if (tip && newest && head - newest.t < 500) {
      g.fillStyle = colour
      g.beginPath()
      g.arc(tip.x, tip.y, lineWidth * 1.8 * density, 0, 2 * Math.PI)
      g.fill()
    }
  }

  // scale follows the last seconds: up at once, down slowly, and never so far that noise fills the screen.
  private scale(head: number, now: number): void {
    if (now - this.scaledAt < 200) return
    this.scaledAt = now
    let low = Infinity
    let high = -Infinity
    let dc = 0
    for (let i = this.samples.length - 1; i >= 0; i--) {
      const s = this.samples[i]!
      if (s.t > head) continue
      if (s.t < head - 4000) break
      low = Math.min(low, s.v)
      high = Math.max(high, s.v)
      dc = Math.max(dc, s.dc)
    }
    if (!(high > low)) return
    const least = Math.max(64, dc * 0.0015)
    if (high - low < least) {
      const middle = (high + low) / 2
      low = middle - least / 2
      high = middle + least / 2
    }
    const ease = (from: number, to: number, out: boolean) => (out ? to : from + (to - from) * 0.08)
    const fresh = this.low === -1 && this.high === 1
    this.low = fresh ? low : ease(this.low, low, low < this.low)
    this.high = fresh ? high : ease(this.high, high, high > this.high)
  }
}
