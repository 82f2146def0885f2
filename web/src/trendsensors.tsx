// Several sensors of one kind at one bed, on a chart: the columns of each line, and what is said in
// words. A mean of two sensors is a value of neither, so none is drawn.
import { tr } from './lang'
import type uPlot from 'uplot'
import type { Kind, TrendPoint, Trends } from './api'
import { clock, day, say } from './words'

const DAY = 86_400
const MOST_SPANS = 5

// spanned is a range in words.
export const spanned = (low: number, high: number): string => (low === high ? `${low}` : tr('{0} to {1}', low, high))

// shared says how many sensors gave values.
export const shared = (n: number): string => (n === 2 ? say('twoSensors') : say('manySensors', n))

export interface Lines {
  data: uPlot.AlignedData
  several: [number, number][] // spans in which several sensors gave values
}

// lines lays kinds of one chart on its grid; what is not there is null. Of each kind come the
// highest and the lowest value of the sensors that are not the source, then what pick takes of the
// source. Where the source changes, two places without values are in between, so that no line leads
// from the one sensor to the other: with one place it would lead halfway, to the mean of both.
export function lines(first: number, last: number, step: number, kinds: TrendPoint[][], pick: (p: TrendPoint) => number[]): Lines {
  const at = kinds.map((points) => new Map(points.filter((p) => p.count > 0).map((p) => [Math.floor(Date.parse(p.at) / 1000 / step) * step, p])))
  const grid: number[] = []
  const several: [number, number][] = []
  for (let t = first; t <= last; t += step) {
    if (at.some((m) => m.has(t) && m.has(t - step) && m.get(t)!.source !== m.get(t - step)!.source)) grid.push(t - 0.98 * step, t - 0.02 * step)
    grid.push(t)
    if (!at.some((m) => (m.get(t)?.sensors ?? 0) > 1)) continue
    const newest = several[several.length - 1]
    if (newest && newest[1] === t - step / 2) newest[1] = t + step / 2
    else several.push([t - step / 2, t + step / 2])
  }
  const width = pick({ at: '', min: 0, mean: 0, max: 0, count: 1, sensors: 1 }).length
  const column = (m: Map<number, TrendPoint>, take: (p: TrendPoint) => number | null): (number | null)[] =>
    grid.map((t) => {
      const p = m.get(t)
      return p ? take(p) : null
    })
  const columns = at.flatMap((m) => [
    column(m, (p) => (p.others?.length ? Math.max(...p.others.map((o) => o.max)) : null)),
    column(m, (p) => (p.others?.length ? Math.min(...p.others.map((o) => o.min)) : null)),
    ...Array.from({ length: width }, (_, i) => column(m, (p) => pick(p)[i]!)),
  ])
  return { data: [grid, ...columns], several }
}

// A Span is successive steps of a kind in which the same sensors gave values.
interface Span {
  kind: Kind
  from: number
  to: number
  points: TrendPoint[]
}

// spansOf are those of a kind with several sensors.
function spansOf(kind: Kind, points: TrendPoint[], step: number): Span[] {
  const all: Span[] = []
  const who = (p: TrendPoint): string => [p.source, ...(p.others ?? []).map((o) => o.source)].join(' ')
  for (const p of points) {
    if (p.sensors < 2) continue
    const from = Date.parse(p.at) / 1000
    const newest = all[all.length - 1]
    if (newest && newest.to === from && who(newest.points[0]!) === who(p)) {
      newest.points.push(p)
      newest.to = from + step
    } else all.push({ kind, from, to: from + step, points: [p] })
  }
  return all
}

const names: Partial<Record<Kind, () => string>> = {
  heart_rate_bpm: () => tr('Heart rate'),
  spo2_percent: () => tr('SpO₂'),
  systolic_mmhg: () => tr('Blood pressure'),
}

const rangeOf = (all: { min: number; max: number }[]): string => spanned(Math.round(Math.min(...all.map((p) => p.min))), Math.round(Math.max(...all.map((p) => p.max))))

// Sensors says where several sensors gave values, by whom the line is and what the others gave: the
// newest few spans of each kind. The diastolic pressure has the spans of the systolic one.
export function Sensors({ trends, seconds }: { trends: Trends; seconds: number }) {
  const step = trends.step_seconds
  const spans = trends.series.filter((s) => names[s.kind]).flatMap((s) => spansOf(s.kind, s.points, step).slice(-MOST_SPANS))
  const old = Math.max(...trends.series.flatMap((s) => s.points.filter((p) => p.count > 0 && p.sensors === 0).map((p) => Date.parse(p.at) / 1000 + step)))
  if (spans.length === 0 && !Number.isFinite(old)) return null
  const when = (t: number): string => {
    const iso = new Date(t * 1000).toISOString()
    return seconds <= DAY ? clock(iso) : `${day(iso)} ${clock(iso)}`
  }
  const said = (s: Span): string => {
    const first = s.points[0]!
    const others = (first.others ?? []).map((o, i) => `${o.source ?? say('unknownSensors')} (${rangeOf(s.points.map((p) => p.others![i]!))})`)
    return say('chartSensors', names[s.kind]!(), when(s.from), when(s.to), shared(first.sensors), first.source ?? say('unknownSensors'), rangeOf(s.points), others.join(', '))
  }
  return (
    <ul class="gaps" data-testid="chart-sensors">
      {spans.map((s) => (
        <li key={`${s.kind} ${s.from}`} data-kind={s.kind}>
          {said(s)}
          {s.points.some((p) => p.disagree) && ` (${say('disagree')})`}
        </li>
      ))}
      {Number.isFinite(old) && <li class="quietly">{say('chartOld', when(old))}</li>}
    </ul>
  )
}
